// A browser for the tests of pages: it takes a screenshot of each state, checks it with axe, and collects what the console says.

import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import axe from "axe-core";
import { chromium } from "playwright-core";

const FOLDER = process.env.SCREENSHOTS;
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const WINDOWS = {
  wide: { viewport: { width: 1200, height: 900 } },
  narrow: { viewport: { width: 320, height: 640 } },
  dark: { viewport: { width: 1200, height: 900 }, colorScheme: "dark" },
};

export async function start(url, scripts, language = "en-US") {
  mkdirSync(FOLDER, { recursive: true });
  const options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"];
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: options });
  const faults = [];
  const names = new Map();
  const person = async () => {
    const context = await browser.newContext({ javaScriptEnabled: scripts, locale: language, ...WINDOWS.wide });
    const page = await context.newPage();
    page.setDefaultTimeout(10_000);
    page.on("console", (message) => {
      // The browser reports every answer with an error status.
      if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) faults.push(message.text());
    });
    page.on("pageerror", (error) => faults.push(String(error)));
    return new Person(url, page, scripts, names, faults);
  };
  const finish = async () => {
    await browser.close();
    console.log(`${names.size} states of pages, ${scripts ? "with" : "without"} scripts: ${faults.length} faults`);
    for (const fault of faults) console.error(fault);
    if (faults.length > 0) process.exit(1);
  };
  return { person, finish };
}

/** One person at their browser. */
class Person {
  constructor(url, page, scripts, names, faults) {
    Object.assign(this, { url, page, scripts, names, faults });
    this.secret = "";
    this.step = 0;
  }

  async open(path) {
    await this.page.goto(this.url + path);
  }

  async fill(fields) {
    for (const [name, value] of Object.entries(fields)) await this.page.locator(`main [name="${name}"]`).first().fill(value);
  }

  /** Presses a button of the page by its text. */
  async press(text) {
    await this.page.getByRole("button", { name: text, exact: true }).first().click();
    await this.page.waitForLoadState();
  }

  async follow(text) {
    await this.page.getByRole("link", { name: text, exact: true }).first().click();
    await this.page.waitForLoadState();
  }

  /** The page's heading has to be this. Takes screenshots, and checks the page with axe. */
  async see(heading, state) {
    const shown = await this.page.locator("h1").innerText();
    if (shown !== heading) throw new Error(`${state}: "${shown}" instead of "${heading}" at ${this.page.url()}`);
    if (this.names.has(state)) throw new Error(`two states are called ${state}`);
    this.names.set(state, this.page.url());
    await this.shots(state);
    if (this.scripts) await this.axe(state);
  }

  /** axe runs in the page, so only with scripts. The HTML is the same without. */
  async axe(state) {
    await this.page.evaluate(axe.source);
    const { violations } = await this.page.evaluate((tags) => window.axe.run({ runOnly: { type: "tag", values: tags } }), RULES);
    for (const { id, nodes } of violations) this.faults.push(`${state}: ${id}: ${nodes.map((node) => node.html).join(" | ")}`);
  }

  async shots(state) {
    const { page, scripts } = this;
    for (const [name, { viewport, colorScheme = "light" }] of Object.entries(WINDOWS)) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      if (name === "narrow") {
        const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (over > 0) this.faults.push(`${state}: at 320 px the page is ${over} px too wide`);
      }
      if (name === "wide" || scripts) {
        await page.screenshot({ path: `${FOLDER}/${state}-${name}${scripts ? "" : "-without-scripts"}.png`, fullPage: true });
      }
    }
    await page.setViewportSize(WINDOWS.wide.viewport);
    await page.emulateMedia({ colorScheme: "light" });
  }

  async text(selector) {
    return (await this.page.locator(selector).first().innerText()).trim();
  }

  /** A code that was not used yet. Waits if the next one is not valid yet. */
  async code() {
    const now = () => Date.now() / 1000;
    this.step = Math.max(this.step + 1, Math.floor(now() / 30) - (now() % 30 < 20 ? 1 : 0));
    const early = (this.step - 1) * 30 - now();
    if (early > 0) await new Promise((done) => setTimeout(done, early * 1000 + 200));
    const at = new Date(this.step * 30_000).toISOString().replace("T", " ").slice(0, 19);
    return execFileSync("oathtool", ["--totp", "-b", `--now=${at} UTC`, this.secret]).toString().trim();
  }

  async signIn(tenant, username, password) {
    await this.open(`/login?tenant=${tenant}`);
    await this.fill({ username, password });
    await this.press("Sign in");
  }

  async enrol() {
    await this.press("Show the QR code");
    await this.page.locator("summary").click();
    this.secret = (await this.text("p.secret")).replaceAll(" ", "");
  }

  async confirm() {
    await this.fill({ code: await this.code() });
    await this.press("Confirm");
  }

  /** P1: the page that is open. */
  async offersNoWayToTurnMfaOff() {
    const offers = this.page.getByRole("main").getByText(/(disable|turn off|switch off|deactivate) (mfa|multi-factor|the authenticator)/i);
    if ((await offers.count()) > 0) this.faults.push(`${this.page.url()} offers to turn MFA off`);
  }

  /** From the sign-in page through the identity provider for development, and back. */
  async bySso(tenant, username) {
    await this.follow(`Sign in with SSO at ${tenant}`);
    await this.page.locator("[name=username]").fill(username);
    await this.page.getByRole("button", { name: "Sign in", exact: true }).click();
    if (!this.scripts) await this.page.getByRole("button", { name: `Continue as ${username}` }).click();
    await this.page.waitForURL(`${this.url}/**`);
  }
}
