// Comfort for pages that work without it. Buttons that need a script are made here, so that nobody sees one that does nothing.
// Their texts come from data attributes, in the language of the page.

document.querySelector(".errors")?.focus();

const button = (label, action) => {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "second";
  made.textContent = label;
  made.addEventListener("click", () => action(made));
  return made;
};

const say = (element, words) => {
  const before = element.textContent;
  element.textContent = words;
  setTimeout(() => { element.textContent = before; }, 2000);
};

for (const tools of document.querySelectorAll("[data-secret]")) {
  const { secret, copy, copied, download, file, print } = tools.dataset;
  if (copy) tools.append(button(copy, async (it) => { await navigator.clipboard.writeText(secret); say(it, copied); }));
  if (download) {
    tools.append(button(download, () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([`${secret}\n`], { type: "text/plain" }));
      link.download = file;
      link.click();
      URL.revokeObjectURL(link.href);
    }));
  }
  if (print) tools.append(button(print, () => window.print()));
}

for (const field of document.querySelectorAll("input[type=password]")) {
  const { show, hide } = document.body.dataset;
  const toggle = button(show, () => {
    const hidden = field.type === "password";
    field.type = hidden ? "text" : "password";
    toggle.textContent = hidden ? hide : show;
    toggle.setAttribute("aria-pressed", String(hidden));
  });
  toggle.className = "link";
  toggle.setAttribute("aria-pressed", "false");
  toggle.setAttribute("aria-controls", field.id);
  field.after(toggle);
  field.form?.addEventListener("submit", () => { field.type = "password"; });
}

for (const time of document.querySelectorAll("time[datetime]")) {
  const format = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  time.title = time.textContent;
  time.textContent = format.format(new Date(time.dateTime));
}

// A form is sent once, also if the button is pressed twice.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form")) delete form.dataset.sent;
});
