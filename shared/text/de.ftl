# Die Texte der Seiten und Mails. Jeder Katalog hat dieselben Texte in derselben Reihenfolge; ein Test prüft es.

## Alle Seiten
skip = Zum Inhalt
error-prefix = Fehler:
error-summary = Es gibt ein Problem
show-password = Passwort zeigen
hide-password = Passwort verbergen
copy = Kopieren
copied = Kopiert
download = Herunterladen
print = Drucken
continue = Weiter
seconds = { $count ->
    [one] 1 Sekunde
   *[other] { $count } Sekunden
}
minutes = { $count ->
    [one] 1 Minute
   *[other] { $count } Minuten
}

## Navigation
nav-label = Seiten
nav-settings = Meine Einstellungen
nav-users = Benutzer
nav-exclusions = Ausnahmen
nav-audit = Protokoll
nav-tenant = Einstellungen
nav-support = Support
nav-logout = Abmelden

## Probleme
problem-title = Das hat nicht geklappt
problem-home = Zur Startseite
problem-request = Wenn Sie um Hilfe bitten, nennen Sie diese Nummer:
problem-invalid_request = Eine Angabe im Formular ist nicht gültig. Prüfen Sie Ihre Eingaben.
problem-malformed_code = Geben Sie die 6 Ziffern ein, die Ihre Authenticator-App zeigt.
problem-invalid_credentials = Firma, Benutzername oder Passwort ist falsch.
problem-invalid_token = Diese Seite ist abgelaufen. Melden Sie sich neu an.
problem-invalid_code = Der Code ist falsch oder wurde schon benutzt. Jeder Code gilt einmal: Warten Sie auf den nächsten.
problem-session_refresh_required = Ihre Sicherheitseinstellungen haben sich geändert. Melden Sie sich neu an.
problem-step_up_required = Ihr letzter Code ist mehr als 5 Minuten her. Bestätigen Sie mit einem neuen Code und senden Sie das Formular noch einmal.
problem-forbidden = Das dürfen Sie nicht.
problem-mfa_mandatory = Die Anmeldung in zwei Schritten kann nicht abgeschaltet werden.
problem-mfa_reset_required = Ihr Authenticator ist gesperrt, oder die Frist für die Einrichtung ist vorbei. Bitten Sie einen Administrator Ihrer Firma, ihn zurückzusetzen.
problem-reset_code_required = Der Rücksetz-Code fehlt, ist falsch oder abgelaufen. Sie bekommen ihn von der Person, die Ihren Authenticator zurückgesetzt hat.
problem-not_found = Diese Seite gibt es nicht.
problem-conflict = Inzwischen hat sich etwas geändert. Sehen Sie sich den jetzigen Stand an und versuchen Sie es noch einmal.
problem-idempotency_mismatch = Dieser Stapel wurde schon mit anderen Kontakten begonnen.
problem-not_sole_administrator = Der Support kann nur den einzigen Administrator einer Firma zurücksetzen.
problem-ticket_used = Dieses Ticket wurde schon benutzt. Jedes Ticket gilt einmal.
problem-method_not_allowed = Diese Seite gibt es nicht.
problem-payload_too_large = Das Gesendete ist zu groß.
problem-too_many_attempts = Zu viele Versuche. Versuchen Sie es in { $wait } noch einmal. Wenn Sie nicht warten können, bitten Sie einen Administrator Ihrer Firma.
problem-unavailable = Der Dienst antwortet gerade nicht. Es wurde nichts geändert. Versuchen Sie es in { $wait } noch einmal.

## Felder
label-tenant = Firma
hint-tenant = Der Kurzname Ihrer Firma, zum Beispiel acme
invalid-tenant = Geben Sie den Kurznamen Ihrer Firma ein: höchstens 64 Buchstaben, Ziffern, Binde- oder Unterstriche.
label-username = Benutzername
invalid-username = Geben Sie einen Benutzernamen ein.
label-password = Passwort
invalid-password = Geben Sie ein Passwort von höchstens 1.024 Bytes ein.
label-code = Code
hint-code = Die 6 Ziffern, die Ihre Authenticator-App jetzt zeigt
invalid-code = Geben Sie die 6 Ziffern ein, die Ihre Authenticator-App zeigt.
label-recovery_token = Wiederherstellungs-Code
hint-recovery_token = Der Code, den Sie beim Einrichten Ihres Authenticators gesichert haben
invalid-recovery_token = Geben Sie Ihren Wiederherstellungs-Code ein.
label-reset_code = Rücksetz-Code
hint-reset_code = Sie bekommen ihn von der Person, die Ihren Authenticator zurückgesetzt hat
invalid-reset_code = Geben Sie den Rücksetz-Code ein.

## Anmelden
login-title = Anmelden
login-submit = Anmelden
login-sso = Mit SSO anmelden
login-sso-at = Mit SSO bei { $tenant } anmelden
login-sso-none = { $tenant } hat kein SSO. Melden Sie sich mit Ihrem Passwort an.
login-forgot = Passwort vergessen?

## Code
verify-title = Geben Sie Ihren Code ein
verify-submit = Anmelden
verify-recovery = Stattdessen einen Wiederherstellungs-Code benutzen
verify-recovery-title = Geben Sie Ihren Wiederherstellungs-Code ein
verify-recovery-once = Ein Wiederherstellungs-Code gilt einmal. Nach der Anmeldung bekommen Sie einen neuen.
verify-code = Stattdessen einen Code der App benutzen
verify-ended = Diese Anmeldung ist beendet: Sie hat mehr als 5 Minuten gedauert, oder es waren 5 falsche Codes.
verify-again = Neu anmelden
verify-clock = Geht die Uhr Ihres Telefons richtig? Ein Code hängt von der Zeit ab: Schalten Sie Datum und Uhrzeit auf automatisch.
verify-lost = Kein Telefon und kein Wiederherstellungs-Code? Bitten Sie einen Administrator Ihrer Firma, Ihren Authenticator zurückzusetzen.

## Mit einem Code bestätigen
step-up-title = Bestätigen Sie, dass Sie es sind
step-up-why = Was Sie tun wollen, braucht einen Code, der nicht älter als 5 Minuten ist.
step-up-submit = Bestätigen
step-up-none = Sie haben keinen Authenticator und können deshalb nicht bestätigen. Bitten Sie einen Administrator Ihrer Firma.

## Authenticator einrichten
enroll-title = Richten Sie Ihre Authenticator-App ein
enroll-replace-title = Authenticator-App ersetzen
enroll-why = Ihre Firma schützt die Anmeldung mit einem zweiten Schritt: einem Code aus einer App auf Ihrem Telefon.
enroll-app = Installieren Sie eine Authenticator-App, wenn Sie keine haben: Google Authenticator, Microsoft Authenticator, Duo, Aegis oder eine andere.
enroll-keep = Ihr jetziger Authenticator gilt weiter, bis Sie den neuen bestätigen.
enroll-start = QR-Code zeigen
enroll-step = Schritt { $step } von 3
enroll-scan = Scannen Sie diesen QR-Code mit Ihrer App
enroll-qr = QR-Code für { $account }
enroll-open = In der App auf diesem Gerät öffnen
enroll-by-hand = Schlüssel von Hand eingeben
enroll-by-hand-how = Wählen Sie in Ihrer App "Schlüssel eingeben". Der Name ist { $account }, der Typ ist "zeitbasiert".
enroll-confirm = Geben Sie den Code ein, den die App zeigt
enroll-confirm-submit = Bestätigen
enroll-expires = Sie haben 10 Minuten.
enroll-no-qr = Der QR-Code wird nur einmal gezeigt. Wenn Ihre App den Schlüssel nicht hat, beginnen Sie mit einem neuen QR-Code.
enroll-again = Neu beginnen
enroll-ended = Diese Einrichtung ist beendet: Sie hat mehr als 10 Minuten gedauert, oder es waren 5 falsche Codes.

## Meine Einstellungen
security-title = Meine Einstellungen
security-mfa = Authenticator-App
security-since = Eingerichtet am { $time }
security-active = Aktiv
security-none = Nicht eingerichtet
security-disabled = Gesperrt
security-excluded = Ihre Firma hat Sie vom zweiten Schritt ausgenommen. Sie melden sich mit Ihrem Passwort an.
security-replace = Authenticator-App ersetzen
security-token = Wiederherstellungs-Code
security-token-exists = Sie haben einen Wiederherstellungs-Code vom { $time }.
security-token-none = Sie haben keinen Wiederherstellungs-Code. Wenn Sie Ihr Telefon verlieren, können Sie sich ohne ihn nicht anmelden.
security-token-new = Neuen Wiederherstellungs-Code holen
security-sessions = Sitzungen
security-sessions-show = Sehen, wo Sie angemeldet sind
security-password = Passwort
security-password-change = Passwort ändern
security-email = E-Mail-Adresse
security-email-show = E-Mail-Adresse ansehen und bestätigen

## Wiederherstellungs-Code
token-title = Wiederherstellungs-Code holen
token-step-title = Wiederherstellungs-Code sichern
token-why = Wenn Sie Ihr Telefon verlieren, können Sie sich mit einem Wiederherstellungs-Code einmal anmelden. Bewahren Sie ihn so auf, dass Sie ihn ohne Telefon finden: auf Papier oder in einem Passwort-Manager.
token-used = Sie haben sich mit Ihrem Wiederherstellungs-Code angemeldet; er ist jetzt verbraucht. Holen Sie zuerst einen neuen.
token-void = Der Wiederherstellungs-Code, den Sie haben, wird ungültig.
token-create = Neuen Wiederherstellungs-Code zeigen
token-shown-title = Ihr Wiederherstellungs-Code
token-once = Er wird nur jetzt gezeigt. Sichern Sie ihn, bevor Sie weitergehen.
token-saved = Ich habe den Wiederherstellungs-Code gesichert
token-later = Nicht jetzt
token-conflict = Sie haben keinen aktiven Authenticator und können deshalb keinen Wiederherstellungs-Code holen.

## Sitzungen
sessions-title = Wo Sie angemeldet sind
sessions-this = Dieser Browser
sessions-unknown = Unbekanntes Programm
sessions-signed-in = Angemeldet
sessions-last-seen = Zuletzt benutzt
sessions-end = Abmelden
sessions-end-others = Überall sonst abmelden
sessions-only = Sie sind nur hier angemeldet.
logout-title = Abmelden
logout-submit = Abmelden

## Verwaltung
save = Speichern
change = Ändern
cancel = Abbrechen
back-to = Zurück zu { $name }
filter-submit = Suchen
filter-clear = Alle zeigen
filter-all = Alle
filter-none-yet = Bisher wurde nichts gefunden. Die Suche ist noch nicht zu Ende: Gehen Sie zur nächsten Seite.
paging-label = Seiten der Liste
paging-next = Nächste Seite
paging-first = Erste Seite
role-administrator = Administrator
role-standard = Mitarbeiter
role-portal = Kontakt
role-operator = Operator
auth-type-local = Passwort und Code
auth-type-saml_sso = SAML-SSO
label-display_name = Name
hint-display_name = So, wie andere ihn lesen, zum Beispiel Ann Lee
invalid-display_name = Geben Sie einen Namen von höchstens 200 Zeichen ohne Zeilenumbrüche ein.
label-email = E-Mail-Adresse
hint-email-optional = Freiwillig. Dorthin schickt Vestibule Hinweise, zum Beispiel nach dem Zurücksetzen
hint-email = Dorthin schickt Vestibule Hinweise, zum Beispiel nach dem Zurücksetzen
invalid-email = Geben Sie eine E-Mail-Adresse wie name@example.com mit höchstens 254 Zeichen ein.
label-role = Rolle
invalid-role = Wählen Sie eine Rolle.
label-kind = Art
invalid-kind = Wählen Sie eine Rolle.
label-auth_type = Anmeldung
invalid-auth_type = Wählen Sie, wie sich die Person anmeldet.
label-active = Darf sich anmelden
invalid-active = Eine Angabe im Formular ist nicht gültig.
label-mfa = MFA
label-excluded = Von MFA ausgenommen
label-q = Name beginnt mit
invalid-q = Geben Sie den Anfang eines Namens ein: höchstens 128 Zeichen.
label-sso_name_id = NameID für SSO
label-reason = Grund
hint-reason = Höchstens 200 Zeichen. Er steht danach im Protokoll.
invalid-reason = Geben Sie einen Grund von höchstens 200 Zeichen in einer Zeile ein.
invalid-user-password = Geben Sie ein Passwort von mindestens 8 Bytes ein, für einen Kontakt mindestens 15 Zeichen, höchstens 1.024 Bytes. Passwörter, die viele benutzen, werden abgelehnt.
hint-user-password = Mindestens 8 Zeichen, für einen Kontakt 15. Passwörter, die viele benutzen, werden abgelehnt.
hint-new-user-password = Lassen Sie es leer, um die Person per Mail einzuladen: Sie wählt es dann selbst. Sonst mindestens 8 Zeichen, für einen Kontakt 15. Passwörter, die viele benutzen, werden abgelehnt.

## Benutzer
users-title = Benutzer
users-new = Neuer Benutzer
users-back = Zurück zu den Benutzern
users-name = Name und Benutzername
users-employees = Mitarbeiter
users-contacts = Kontakte
users-excluded = Ausgenommen
users-included = Nicht ausgenommen
users-none = Es gibt keine Benutzer.
users-none-match = Auf keinen Benutzer trifft das zu.
users-deleted = Der Benutzer ist gelöscht.

## Ein Benutzer
user-created = Der Benutzer ist angelegt. Bei der ersten Anmeldung richtet er seine Authenticator-App ein.
user-invited = Die Person bekommt eine Mail: Mit dem Link darin wählt sie ihr Passwort. Danach richtet sie ihre Authenticator-App ein.
user-changed = Die Änderung ist gespeichert.
user-own = Das ist Ihr eigenes Konto.
user-last = Die Firma muss einen aktiven Administrator behalten, und ohne Identitätsanbieter einen, der sich mit einem Passwort anmeldet. Deshalb behält dieser Administrator Rolle und Konto. Machen Sie zuerst jemand anderen zum Administrator.
user-email-none = Keine
user-email-verified = (bestätigt)
user-password-none = Keines
user-last-sign-in = Letzte Anmeldung
user-never = Nie
user-invite = Einladung senden
user-not-invited = Die Person kann nicht eingeladen werden: Sie hat ein Passwort oder keine E-Mail-Adresse, ist inaktiv oder meldet sich mit SSO an.
user-name-id = NameID für SSO
user-password-set = Neues Passwort setzen
user-password-own = Ihr eigenes Passwort ändern Sie in Meine Einstellungen.
user-state = Konto
user-active = Aktiv
user-inactive = Inaktiv
user-activate = Aktivieren
user-deactivate = Deaktivieren
user-enrol-by = (einzurichten bis { $time })
user-reset = MFA zurücksetzen
user-reset-own = Ihre eigene MFA können Sie nicht zurücksetzen. Ersetzen Sie Ihre Authenticator-App, oder bitten Sie einen anderen Administrator.
user-exclusion = Ausnahme von MFA
user-employee-not-excluded = Mitarbeiter können nicht ausgenommen werden.
user-excluded-since = Ausgenommen seit { $time }.
user-password-too-short = Nicht ausgenommen. Das Passwort hat weniger als 15 Zeichen. Deshalb kann der Kontakt erst ausgenommen werden, wenn Sie ein längeres setzen.
user-exclude = Von MFA ausnehmen
user-include = Wieder einschließen
user-id = Benutzer-Id
user-audit = Zeigen, was mit diesem Benutzer geschehen ist
user-delete = Benutzer löschen
change-title-display_name = Namen von { $name } ändern
change-title-email = E-Mail-Adresse von { $name } ändern
change-title-role = Rolle von { $name } ändern
change-title-auth_type = Anmeldung von { $name } ändern
change-title-password = Neues Passwort für { $name } setzen
change-title-invitation = { $name } einladen
change-title-activate = { $name } aktivieren
change-title-deactivate = { $name } deaktivieren
change-title-delete = { $name } löschen
change-ends-sessions = Die Änderung beendet die Sitzungen der Person. Sie meldet sich neu an.
change-ends-exclusion = Dieser Kontakt ist von MFA ausgenommen. Wird er Mitarbeiter, endet die Ausnahme, und er richtet eine Authenticator-App ein.
change-auth-type = Mit SAML-SSO meldet sich die Person nur noch über den Identitätsanbieter an. Ihr Passwort gilt nicht mehr.
change-password = Sagen Sie der Person das Passwort persönlich oder am Telefon. Sie ändert es nach der Anmeldung.
change-invitation = Die Person bekommt eine Mail mit einem Link, um ein Passwort zu wählen. Der Link gilt 7 Tage. Ein früherer Link gilt nicht mehr.
change-deactivate = Die Person kann sich nicht anmelden, bis Sie sie wieder aktivieren. Ihre Sitzungen enden jetzt.
change-activate = Die Person kann sich wieder anmelden, mit demselben Passwort und derselben Authenticator-App.
change-delete = Das lässt sich nicht rückgängig machen. Die Sitzungen der Person enden, und der Benutzername wird frei. Das Protokoll behält, was geschehen ist.
auth-type-no-idp = Die Firma hat keinen Identitätsanbieter; niemand kann sich mit SSO anmelden. Richten Sie zuerst einen ein.

## Neuer Benutzer
new-user-title = Neuer Benutzer
new-user-submit = Benutzer anlegen
new-user-next = Sagen Sie der Person Benutzernamen und Passwort persönlich oder am Telefon. Bei der ersten Anmeldung richtet sie ihre Authenticator-App ein.
new-user-next-mail = Wer eingeladen wird, wählt das Passwort mit dem Link aus der Mail. Wenn Sie ein Passwort eingeben, sagen Sie es der Person persönlich oder am Telefon. Bei der ersten Anmeldung richtet sie ihre Authenticator-App ein.
new-user-email-needed = Geben Sie eine E-Mail-Adresse für die Einladung ein, oder ein Passwort.
new-user-taken = Diesen Benutzernamen gibt es schon. Wählen Sie einen anderen.

## Benutzer importieren
import-title = Benutzer importieren
import-what = Geben Sie eine Liste von Personen an. Sie sehen zuerst eine Vorschau: niemand wird angelegt, bevor Sie bestätigen.
import-columns = Die erste Zeile nennt die Spalten: username, display_name und role, und wenn Sie möchten email, password und auth_type. Andere Spalten werden nicht beachtet.
import-roles = Die Rolle ist standard oder administrator für Mitarbeiter und portal für Kontakte.
import-invite = Personen ohne Passwort bekommen eine Mail mit einem Link, um eines zu wählen. Darum brauchen sie eine E-Mail-Adresse.
import-no-mails = Dieser Dienst sendet keine Mails mit Links. Darum braucht jeder, der sich mit Passwort anmeldet, eines in der Liste.
hint-import-csv = Höchstens 200 Benutzer und 190 KiB. Das Trennzeichen ist ein Komma, ein Semikolon oder ein Tabulator.
label-rows = Oder die Liste einfügen
hint-rows = Mit der Zeile, die die Spalten nennt, zum Beispiel aus einer Tabelle kopiert
invalid-rows = Das ist keine Liste: jede Zeile braucht so viele Zellen wie die erste Zeile.
import-none = Wählen Sie eine Datei oder fügen Sie eine Liste ein.
import-two = Wählen Sie eine Datei oder fügen Sie eine Liste ein, nicht beides.
import-no-column = Die erste Zeile nennt keine Spalte "{ $column }".
import-no-rows = Die Liste hat nur die Zeile, die die Spalten nennt, und keine Benutzer.
import-too-many = Die Liste hat { $count } Benutzer. Höchstens 200 können auf einmal angelegt werden: teilen Sie die Liste.
import-too-large = Die Liste ist größer als 190 KiB. Teilen Sie sie, oder lassen Sie Spalten weg, die nicht beachtet werden.
import-preview = Vorschau
import-preview-title = Vorschau: Benutzer importieren
import-preview-notice = Es ist noch niemand angelegt. Das würde geschehen:
import-preview-nothing = Niemand würde angelegt, darum gibt es nichts zu bestätigen.
import-ignored = Nicht beachtete Spalten: { $columns }
import-confirm = { $count ->
    [one] 1 Benutzer anlegen
   *[other] { $count } Benutzer anlegen
}
import-confirm-again = Die Benutzer anlegen
import-interrupted = Der Import wurde unterbrochen, und einige Benutzer können angelegt sein. Bestätigen Sie noch einmal: niemand wird zweimal angelegt. Wer keine Einladung bekommt, dem senden Sie sie auf seiner Seite.
import-done-title = Ergebnis des Imports
import-done = Fertig.
import-line = Zeile
import-outcome = Ergebnis
import-created = Angelegt
import-invited = Angelegt und per Mail eingeladen
import-exists = Nicht angelegt: der Benutzername ist vergeben
import-invalid = Nicht angelegt
import-invalid-role = Die Rolle muss standard oder administrator für Mitarbeiter oder portal für Kontakte sein.
import-invalid-kind = Die Art (kind) muss zur Rolle passen: employee für standard und administrator, contact für portal.
import-invalid-auth_type = Die Anmeldung (auth_type) muss local oder saml_sso sein.
import-download = Als CSV herunterladen
import-another = Noch eine Liste importieren

## Zurücksetzen
reset-title = MFA von { $name } zurücksetzen
reset-effect = Authenticator-App, Wiederherstellungs-Code und Sitzungen der Person werden ungültig. Bei der nächsten Anmeldung richtet sie eine Authenticator-App ein.
reset-verify = Vergewissern Sie sich, dass die Person, die darum bittet, wirklich die ist, die sie zu sein angibt: Rufen Sie sie unter einer Nummer zurück, die Sie kennen.
reset-submit = MFA zurücksetzen
reset-too-many = Ein Administrator kann 10 Personen in der Stunde zurücksetzen, eine Firma 50. Warten Sie, oder bitten Sie einen anderen Administrator.
reset-done-title = Die MFA von { $name } ist zurückgesetzt
reset-code-once = Die Person braucht diesen Rücksetz-Code. Er wird nur jetzt gezeigt.
reset-code-until = Der Code gilt bis { $time }.
reset-code-how = Geben Sie ihr den Code persönlich oder am Telefon, nicht per E-Mail. Geht er verloren, setzen Sie noch einmal zurück: Sie bekommen einen neuen Code.
reset-no-code = Die Person braucht keinen Rücksetz-Code.
reset-tell = Was Sie der Person sagen
reset-tell-sign-in = Melden Sie sich als { $username } an, mit dem Passwort wie bisher.
reset-tell-code = Geben Sie den Rücksetz-Code ein.
reset-tell-scan = Scannen Sie den QR-Code mit einer Authenticator-App, und geben Sie den Code ein, den die App zeigt.
reset-tell-until = Tun Sie das bis { $time }. Danach muss noch einmal zurückgesetzt werden.

## Protokoll
audit-title = Protokoll
audit-at = Zeit
audit-action = Ereignis
audit-actor = Wer
audit-target = Betrifft
audit-details = Einzelheiten
audit-refused = Abgelehnt
audit-unknown = Unbekannt
audit-operator = Operator des Supports
audit-deleted = (gelöscht)
audit-csv = Diese Seite als CSV herunterladen
audit-none = Es gibt keine Ereignisse.
audit-none-more = Es gibt keine weiteren Ereignisse.
audit-reason = Grund
audit-ticket = Ticket
audit-changed = Geändert
audit-user-agent = Programm
audit-name-id = NameID
audit-name-id-format = Format der NameID
audit-algorithm = Algorithmus
audit-batch = Stapel
audit-client = Client
audit-notified = Hinweis an
audit-notified-user = den Benutzer
audit-notified-administrators = die Administratoren
label-user = Benutzer
hint-user = Benutzername, oder Benutzer-Id eines gelöschten Benutzers
invalid-user = Einen Benutzer mit diesem Namen gibt es nicht.
label-from = Von
hint-from = Erster Tag, in UTC
invalid-from = Geben Sie einen Tag wie 2026-01-31 ein.
label-to = Bis
hint-to = Letzter Tag, in UTC
invalid-to = Geben Sie einen Tag wie 2026-01-31 ein.
action-password-reset_mailed = Link zu einem neuen Passwort gesendet
action-password-reset = Neues Passwort über einen Link gesetzt
action-invitation-mailed = Einladung gesendet
action-email-verification_mailed = Link zum Bestätigen der Adresse gesendet
action-email-verified = E-Mail-Adresse bestätigt
action-login = Anmeldung nur mit Passwort
action-login-password_accepted = Richtiges Passwort
action-sso-login = Anmeldung mit SSO
action-idp-changed = Identitätsanbieter eingerichtet
action-idp-removed = Identitätsanbieter entfernt
action-login-delayed = Fünf falsche Passwörter in Folge: Anmeldung verzögert
action-login-attacked = 100 falsche Passwörter in Folge
action-password-attacked = Fünfmal falsches jetziges Passwort: Sitzung beendet
action-verify = Code bei der Anmeldung
action-step_up = Code zur Bestätigung
action-factor-attacked = 50 weitere falsche Codes
action-recovery_token-used = Anmeldung mit einem Wiederherstellungs-Code
action-recovery_token-issued = Neuer Wiederherstellungs-Code
action-enrolment-started = Einrichten eines Authenticators begonnen
action-enrolment = Code beim Einrichten eines Authenticators
action-factor-activated = Authenticator eingerichtet
action-factor-disabled = 100 falsche Codes in Folge: Authenticator gesperrt
action-mfa-reset = MFA zurückgesetzt
action-mfa-reset_code_renewed = Neuer Rücksetz-Code
action-exclusion-batch = Stapel von Ausnahmen
action-exclusion-excluded = Kontakt von MFA ausgenommen
action-exclusion-included = Kontakt wieder eingeschlossen
action-sessions-ended = Sitzungen beendet
action-user-created = Benutzer angelegt
action-user-changed = Benutzer geändert
action-user-deleted = Benutzer gelöscht
action-password-changed = Passwort geändert
action-tenant-created = Firma angelegt
action-tenants-listed = Support hat Firmen nachgesehen
action-users-listed = Support hat Benutzer nachgesehen
action-settings-changed = Einstellungen geändert
action-client-created = Client-Zugang angelegt
action-client-deleted = Client-Zugang gelöscht
action-restore_epoch-raised = Aus einer Sicherung wiederhergestellt: alle Tokens ungültig
action-forbidden = Für die Rolle nicht erlaubt

## Einstellungen der Firma
settings-title = Einstellungen
settings-changed = Die Einstellung ist gespeichert.
settings-administrators = Nur Administratoren
settings-everyone = Alle
settings-mfa = Keine Einstellung schaltet MFA ab.
settings-sso = Single Sign-on (SSO)
label-issuer = Name in Authenticator-Apps
hint-issuer = Apps zeigen ihn neben dem Benutzernamen. Wer seine App schon eingerichtet hat, behält den alten Namen.
invalid-issuer = Geben Sie einen Namen von höchstens 200 Zeichen ohne Zeilenumbrüche ein.
label-reset_code_for = Wer nach dem Zurücksetzen einen Rücksetz-Code braucht
hint-reset_code_for = Der Administrator, der zurücksetzt, übergibt den Code. Ohne ihn genügt das Passwort, um eine neue Authenticator-App einzurichten.
invalid-reset_code_for = Wählen Sie, wer einen Rücksetz-Code braucht.

## Listen
paging-previous = Vorige Seite

## Ausnahmen
exclusions-title = Ausnahmen
exclusions-what = Ein ausgenommener Kontakt meldet sich nur mit dem Passwort an. Alle anderen brauchen einen Code. Mitarbeiter können nicht ausgenommen werden.
exclusions-list = Ausgenommene Kontakte
exclusions-none = Kein Kontakt ist ausgenommen.
exclusions-contact = Kontakt
exclusions-contacts = Kontakte
exclusions-id = Kennung
exclusions-since = Ausgenommen am
exclusions-by = Ausgenommen von
exclusions-action = Aktion
exclusions-exclude-title = Kontakte ausnehmen
exclusions-exclude-what = Die Kontakte melden sich dann nur mit dem Passwort an. Ihr Authenticator, ihr Wiederherstellungs-Code und ihre Sitzungen enden sofort.
exclusions-exclude-limits = Mitarbeiter können nicht ausgenommen werden. Ein Kontakt kann nur ausgenommen werden, wenn sein Passwort mindestens 15 Zeichen hat.
exclusions-include-title = Kontakte wieder aufnehmen
exclusions-include-what = Die Kontakte brauchen dann wieder einen Code: Bei der nächsten Anmeldung richten sie einen Authenticator ein. Ihre Sitzungen enden sofort.
exclusions-found-none = Einen solchen Kontakt gibt es nicht.
exclusions-nobody = Es gibt keinen Kontakt, der ausgenommen werden könnte.
exclusions-gone = Diesen Kontakt gibt es nicht mehr.
exclusions-more = Weitere Kontakte zeigen. Was Sie hier angekreuzt haben, geht verloren.
exclusions-by-id = Oder geben Sie die Kennungen von Kontakten an
label-contact_ids = Kennungen
hint-contact_ids = Eine Kennung je Zeile, höchstens 1.000
invalid-contact_ids = Wählen Sie 1 bis 1.000 Kontakte.
exclusions-line = Zeile { $line } ist keine Kennung. Eine Kennung hat 1 bis 64 Buchstaben, Ziffern, Binde- oder Unterstriche.
label-csv = CSV-Datei
hint-csv = Eine Datei mit einer Spalte namens "id", höchstens 256 KiB
invalid-csv = Die Datei ist kein CSV in UTF-8. Speichern Sie sie als "CSV UTF-8" und wählen Sie sie noch einmal aus.
exclusions-no-column = Die erste Zeile der Datei nennt keine Spalte "id".
exclusions-row = In Zeile { $line } der Datei enthält die Spalte "id" keine Kennung.
exclusions-preview = Vorschau
exclusions-preview-what = Die Vorschau ändert nichts. Sie bestätigen auf der nächsten Seite.
exclusions-preview-exclude = Vorschau: Kontakte ausnehmen
exclusions-preview-include = Vorschau: Kontakte wieder aufnehmen
exclusions-preview-notice = Noch ist nichts geändert. Das würde geschehen:
exclusions-preview-nothing = Es würde sich nichts ändern; deshalb gibt es nichts zu bestätigen.
exclusions-confirm-exclude = Diese Kontakte ausnehmen
exclusions-confirm-include = Diese Kontakte wieder aufnehmen
exclusions-interrupted = Die Änderung wurde unterbrochen, und ein Teil der Kontakte kann erledigt sein. Bestätigen Sie noch einmal: Es geht dort weiter, wo es aufgehört hat.
exclusions-done-title = Ergebnis
exclusions-completed = Erledigt.
exclusions-running = Diese Änderung ist nicht fertig. Sie läuft gerade oder wurde unterbrochen. Laden Sie die Seite in einer Minute neu.
exclusions-stopped = Diese Änderung endete vor der Zeit, weil der Administrator, der sie begonnen hat, die Rolle verloren hat.
exclusions-outcome = Ergebnis
exclusions-no-results = Es gibt noch keine Ergebnisse.
exclusions-download = Als CSV herunterladen
exclusions-back = Alle Ausnahmen
outcome-excluded = Ausgenommen
outcome-included = Wieder aufgenommen
outcome-unchanged = Keine Änderung: Es war schon so
outcome-not_a_contact = Abgelehnt: Mitarbeiter können nicht ausgenommen werden
outcome-not_found = Abgelehnt: Diesen Kontakt gibt es nicht
outcome-password_too_short = Abgelehnt: Das Passwort ist zu kurz, oder seine Länge ist nicht bekannt. Setzen Sie ein neues Passwort von mindestens 15 Zeichen.
outcome-not_applied = Nicht erledigt: Die Änderung endete vorher

## Passwort ändern
label-current_password = Jetziges Passwort
invalid-current_password = Geben Sie Ihr jetziges Passwort ein: höchstens 1.024 Bytes.
label-new_password = Neues Passwort
invalid-new_password = Wählen Sie ein neues Passwort.
password-what = Wenn sich das Passwort ändert, werden Sie überall sonst abgemeldet.
password-rule-employee = Mindestens 8 Zeichen. Häufige Passwörter werden abgelehnt.
password-rule-contact = Mindestens 15 Zeichen. Häufige Passwörter werden abgelehnt.
password-too-short = Das neue Passwort ist zu kurz. Es braucht mindestens 8 Zeichen.
password-too-short-contact = Das neue Passwort ist zu kurz. Es braucht mindestens 15 Zeichen.
password-too-long = Das neue Passwort ist zu lang. Es darf höchstens 1.024 Bytes haben.
password-common = Das neue Passwort gehört zu den häufigen, die zuerst versucht werden. Wählen Sie ein anderes.
password-wrong = Das jetzige Passwort ist falsch. Nach fünf falschen Eingaben werden Sie abgemeldet.
password-changed = Ihr Passwort ist geändert. Überall sonst sind Sie abgemeldet.
password-sso = Sie melden sich über den Identity-Provider Ihrer Firma an und haben deshalb hier kein Passwort. Ändern Sie es dort.

## Support
support-title = Support: Firma suchen
support-audited = Jede Suche wird protokolliert: die Suche nach Firmen im Protokoll des Supports, die Liste der Benutzer im Protokoll der Firma.
support-tenants = Firmen
support-name = Name
support-id = Kennung
support-no-tenant = Eine solche Firma gibt es nicht.
support-users-title = Benutzer von { $tenant }
support-rule = Der Support setzt nur einen einzigen Administrator zurück: einen, neben dem kein anderer aktiver Administrator einen aktiven Authenticator hat. Alle anderen setzt ein Administrator der Firma zurück.
support-nobody = Einen solchen Benutzer gibt es nicht.
support-role = Rolle
support-mfa = Authenticator
support-reset = Rücksetzen durch den Support
support-reset-do = Zurücksetzen
support-by-administrator = Durch einen Administrator der Firma
support-by-operator = Durch einen anderen Operator, als Benutzer von support
support-inactive-why = Nicht möglich: Der Benutzer ist inaktiv
support-all = Alle Firmen
support-reset-title = Authenticator eines Administrators zurücksetzen
support-reset-what = Authenticator, Wiederherstellungs-Code und Sitzungen des Benutzers enden sofort. Sie bekommen einen Rücksetz-Code für ihn. Danach hat er 72 Stunden, um einen neuen Authenticator einzurichten.
support-reset-verify = Vergewissern Sie sich zuerst, dass Sie mit dieser Person sprechen: Rufen Sie unter einer Nummer zurück, die Sie schon vorher hatten.
label-ticket = Ticket
hint-ticket = Die Nummer des Support-Tickets. Jedes Ticket gilt einmal.
invalid-ticket = Geben Sie die Nummer des Tickets ein: höchstens 200 Zeichen.
support-reset-submit = Zurücksetzen
support-not-administrator = Der Support kann diesen Benutzer nicht zurücksetzen: Er ist kein aktiver Administrator der Firma. Ein Administrator der Firma kann ihn zurücksetzen.
support-another = Der Support kann diesen Benutzer nicht zurücksetzen: Ein anderer aktiver Administrator der Firma hat einen aktiven Authenticator und kann ihn zurücksetzen.
support-not-found = Diese Firma hat keinen solchen Benutzer.
support-self = Sie können sich nicht selbst zurücksetzen. Bitten Sie einen anderen Operator.
support-done-title = Rücksetz-Code für { $user }
support-code-once = Der Code wird nur jetzt gezeigt. Geben Sie ihn dem Benutzer persönlich oder am Telefon, nie per Mail.
support-tell = Sagen Sie dem Benutzer
support-tell-sign-in = Melden Sie sich mit Firma, Benutzername und Passwort an.
support-tell-enrol = Geben Sie den Rücksetz-Code ein und richten Sie dann eine Authenticator-App ein.
support-tell-until = Das geht bis { $time }.
support-lost = Geht der Code verloren, braucht der Benutzer ein weiteres Zurücksetzen mit einem neuen Ticket.
support-back = Zurück zu den Benutzern

## SSO
sso-title = Single Sign-On (SSO)
sso-no-address = SSO ist nicht möglich: Dieser Dienst hat keine öffentliche Adresse. Bitten Sie die Betreiber, eine einzutragen.
sso-none = Ihre Firma hat hier keinen Identity-Provider. Alle melden sich mit Passwort und Code an.
sso-yes = Ja
sso-no = Nein
sso-entity-id = Entity-ID
sso-url = Adresse der Anmeldung
sso-signed = Unsere Anfragen sind signiert
sso-initiated = Die Anmeldung darf beim Identity-Provider beginnen
sso-provisioning = Legt Benutzer bei der ersten Anmeldung an
sso-link-attribute = Attribut mit dem Benutzernamen
sso-contexts = Authentifizierungs-Kontexte, die als Bestätigung mit einem Code gelten
sso-valid-until = Metadaten gelten bis
sso-changed = Zuletzt geändert
sso-metadata-expires = Die Metadaten sind abgelaufen oder laufen in den nächsten 30 Tagen ab. Holen Sie sie vom Identity-Provider und ersetzen Sie sie unten.
sso-certificate-expires = Ein Zertifikat ist abgelaufen oder läuft in den nächsten 30 Tagen ab. Holen Sie die Metadaten neu vom Identity-Provider und ersetzen Sie sie unten.
sso-certificates = Zertifikate des Identity-Providers
sso-from = Gültig ab
sso-until = Gültig bis
sso-state = Zustand
sso-expired = Abgelaufen
sso-expires-soon = Läuft bald ab
sso-valid = Gültig
sso-test = Testen
sso-test-what = Ein Test meldet Sie in diesem Browser als die Person an, die der Identity-Provider nennt. Nehmen Sie ein privates Fenster, um hier angemeldet zu bleiben.
sso-test-start = Mit SSO anmelden
sso-refused = Wurde eine Anmeldung abgelehnt? Das Protokoll sagt, warum.
sso-audit = Zum Protokoll
sso-ours = Für Ihren Identity-Provider
sso-ours-what = Geben Sie Ihrem Identity-Provider diese Metadaten oder die beiden Adressen.
sso-metadata = Metadaten
sso-acs = Adresse für Antworten (ACS)
sso-signing = Zertifikat, mit dem wir Anfragen signieren
sso-connect = Identity-Provider verbinden
sso-replace = Metadaten ersetzen
sso-replace-what = Alles andere bleibt, wie es ist. Eine neue Entity-ID beendet alle Sitzungen, die durch SSO begonnen haben.
label-metadata_file = Datei mit Metadaten
hint-metadata_file = Eine XML-Datei Ihres Identity-Providers, höchstens 256 KiB
invalid-metadata_file = Die Datei ist kein XML in UTF-8. Wählen Sie die Metadaten Ihres Identity-Providers.
label-metadata_xml = Oder fügen Sie die Metadaten ein
invalid-metadata_xml = Das sind keine gültigen Metadaten eines Identity-Providers.
sso-detail = Was nicht stimmt:
sso-more = Alle anderen Einstellungen, zum Beispiel das Anlegen von Benutzern, ändern Sie über die API: PUT /v1/admin/sso.
sso-remove-title = Identity-Provider entfernen
sso-remove-which = Dieser Identity-Provider wird entfernt:
sso-remove-what = Alle Sitzungen, die durch SSO begonnen haben, enden sofort. Benutzer mit SSO können sich nicht anmelden, bis Sie einen Identity-Provider verbinden oder ihnen ein Passwort geben.
sso-remove = Entfernen
sso-needed = Der Identity-Provider kann nicht entfernt werden: Alle aktiven Administratoren melden sich über ihn an. Lassen Sie zuerst einen von ihnen sich mit einem Passwort anmelden.
sso-not-accepted = Der Identity-Provider Ihrer Firma hat Sie hierher geschickt, aber seine Antwort wurde nicht angenommen. Beginnen Sie neu. Wenn es wieder geschieht, bitten Sie einen Administrator Ihrer Firma: Das Protokoll sagt, warum.

## Vergessenes Passwort und Links in Mails
forgot-title = Passwort vergessen?
forgot-how = Sie bekommen eine Mail mit einem Link, über den Sie ein neues Passwort wählen, wenn Ihre E-Mail-Adresse bekannt und bestätigt ist.
forgot-submit = Mail senden
forgot-sent-title = Sehen Sie in Ihre Mails
forgot-sent = Wenn es diesen Benutzer mit einer bestätigten E-Mail-Adresse gibt, ist eine Mail mit einem Link unterwegs. Der Link gilt einmal und 30 Minuten lang. Keine Mail? Bitten Sie einen Administrator Ihrer Firma.
choose-password-title = Wählen Sie ein neues Passwort
choose-password-rules = Mindestens 8 Zeichen, oder 15, wenn Sie Kunde sind. Passwörter, die viele benutzen, werden abgelehnt.
choose-password-submit = Passwort setzen
choose-password-next = Melden Sie sich danach mit dem neuen Passwort und einem Code Ihrer Authenticator-App an.
choose-password-done-title = Ihr Passwort ist gesetzt
choose-password-done = Melden Sie sich mit dem neuen Passwort und einem Code Ihrer Authenticator-App an.
link-ended-title = Dieser Link gilt nicht
link-ended = Der Link wurde benutzt, ist abgelaufen, oder ein neuerer hat ihn ersetzt. Fordern Sie eine neue Mail an.
verify-email-title = Bestätigen Sie Ihre E-Mail-Adresse
verify-email-how = Bestätigen Sie mit dem Knopf, dass diese Adresse Ihre ist.
verify-email-submit = Bestätigen
verify-email-done-title = Ihre E-Mail-Adresse ist bestätigt
verify-email-done = Sie können jetzt eine Mail bekommen, wenn Sie Ihr Passwort vergessen.

## Eigene E-Mail-Adresse
email-verified = Bestätigt
email-unverified = Nicht bestätigt
email-use = Wenn Sie Ihr Passwort vergessen, bekommen Sie eine Mail an diese Adresse.
email-why = Bestätigen Sie die Adresse, damit Sie eine Mail bekommen können, wenn Sie Ihr Passwort vergessen.
email-send = Mail senden
email-sent = Eine Mail an { $address } ist unterwegs. Öffnen Sie ihren Link, um die Adresse zu bestätigen. Der Link gilt einmal und 30 Minuten lang.
email-no-mails = Dieser Dienst sendet keine Mails mit Links. Darum können Sie die Adresse nicht bestätigen.
email-wrong = Ist sie falsch? Bitten Sie einen Administrator Ihrer Firma, sie zu ändern.
email-none = Sie haben hier keine E-Mail-Adresse. Bitten Sie einen Administrator Ihrer Firma, eine einzutragen.

## Mails
mail-greeting = Guten Tag { $name },
mail-link-minutes = Der Link funktioniert einmal, und zwar 30 Minuten lang.
mail-link-days = Der Link funktioniert einmal, und zwar 7 Tage lang.
mail-reset-subject = { $company }: neues Passwort setzen
mail-reset-lead = jemand möchte ein neues Passwort für { $user } bei { $company } setzen. Wenn Sie das sind, öffnen Sie diesen Link:
mail-reset-label = Neues Passwort setzen
mail-reset-code = Ihre Authenticator-App bleibt unverändert. Die nächste Anmeldung fragt nach ihrem Code.
mail-reset-unexpected = Wenn Sie das nicht waren, ignorieren Sie diese E-Mail. Es hat sich nichts geändert.
mail-invitation-subject = { $company }: Ihr neues Konto
mail-invitation-lead = { $company } hat ein Konto für Sie angelegt. Ihr Benutzername ist { $user }. Öffnen Sie diesen Link, um ein Passwort zu wählen:
mail-invitation-label = Passwort wählen
mail-invitation-app = Bei der ersten Anmeldung richten Sie eine Authenticator-App auf Ihrem Telefon ein.
mail-invitation-unexpected = Wenn Sie diese E-Mail nicht erwartet haben, ignorieren Sie sie.
mail-verification-subject = { $company }: E-Mail-Adresse bestätigen
mail-verification-lead = { $user } bei { $company } hat diese E-Mail-Adresse angegeben. Wenn Sie das sind, öffnen Sie diesen Link:
mail-verification-label = Adresse bestätigen
mail-verification-unexpected = Wenn Sie das nicht sind, ignorieren Sie diese E-Mail.
mail-former-address-subject = { $company }: Ihre E-Mail-Adresse wurde geändert
mail-former-address-lead = die Administration von { $company } hat diese E-Mail-Adresse von { $user } durch eine andere ersetzt.
mail-former-address-unexpected = Wenn Sie das nicht erwartet haben, melden Sie es sofort der Administration von { $company }.
