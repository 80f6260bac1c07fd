// What each role does in a day, with the keyboard alone, on narrow screens, in English and in
// Spanish. Words are looked up by their keys, so each way is told once.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { check, fits, launch, open, ours, person, pressEnterOn, tabTo, theirs, today, wordsIn } from "./portal.mjs";

const screens = [
  { name: "in English on a small phone", language: "en", locale: "en-US", viewport: { width: 360, height: 640 } },
  { name: "in Spanish on a screen of 1280 pixels at 400 %", language: "es", locale: "es-US", viewport: { width: 320, height: 256 } },
];

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** Somebody at a keyboard, who reads one language. */
class Worker {
  #steps = 0;

  constructor(role, screen, opened) {
    Object.assign(this, opened);
    this.name = `${role}-${screen.viewport.width}`;
    this.language = screen.language;
    this.say = wordsIn(screen.language);
  }

  /** Sees that the page is the one with this heading, accessible and no wider than the screen. */
  async sees(key, values) {
    await this.reads(this.say(key, values));
  }

  async reads(heading) {
    await check(this.page, `${this.name}-${++this.#steps}`, heading);
    assert.equal(await this.page.locator("html").getAttribute("lang"), this.language);
    await fits(this.page);
  }

  async follows(key, values) {
    await pressEnterOn(this.page, this.say(key, values));
  }

  async reaches(key, values) {
    await tabTo(this.page, this.say(key, values));
  }

  async types(key, text) {
    await this.reaches(key);
    await this.page.keyboard.press("Control+A");
    await this.page.keyboard.type(text);
  }

  /** Sees the summary of problems, and goes from it to the first field that has one. */
  async isLedToTheProblem() {
    assert.equal(await this.page.evaluate(() => document.activeElement.id), "problems", "the summary has the focus");
    await this.page.keyboard.press("Tab");
    await this.page.keyboard.press("Enter");
    assert.equal(await this.page.evaluate(() => document.activeElement.matches("input, textarea, select")), true, "the link leads to a field");
  }

  async tells(key, values) {
    await this.page.getByText(this.say(key, values)).first().waitFor();
  }

  /** Goes to each page that the navigation of this level offers. */
  async looksAround(level) {
    for (const path of await this.page.locator(`${level} a`).evaluateAll((all) => all.map((a) => a.href))) {
      await this.page.goto(path);
      await this.reads(await this.page.locator("h1").textContent());
    }
  }

  async signsOut() {
    await this.follows("nav.logout");
    await this.sees("logout.done");
    assert.deepEqual(this.faults, []);
    await this.context.close();
  }
}

async function signIn(role, screen, path, button) {
  const worker = new Worker(role, screen, await open(browser, { locale: screen.locale, viewport: screen.viewport }));
  await worker.page.goto(path);
  await worker.sees("login.heading");
  await tabTo(worker.page, worker.say("skip"));
  for (const key of ["login.platform", "login.button"]) {
    const link = worker.page.getByRole("link", { name: worker.say(key) });
    if (await link.count()) await worker.follows(key);
  }
  await pressEnterOn(worker.page, `Sign in as ${button}`);
  return worker;
}

const atWork = (role, screen, department = ours) => signIn(role, screen, department.portalURL, person(department, role).name);
const atThePlatform = (role, screen, name) => signIn(role, screen, new URL("/operator", ours.portalURL).href, name);

for (const screen of screens) {
  test(`a caseworker ${screen.name}`, async () => {
    const she = await atWork("caseworker", screen);
    await she.sees("issue.heading");
    await she.follows("issue.button");
    await she.sees("issue.heading");
    assert.equal(await she.page.locator(".usa-alert--error a").count(), 2, "the summary names the test result and the date");
    await she.isLedToTheProblem();
    await she.page.keyboard.press("Space");
    await she.types("issue.symptom_date", today().typed);
    assert.equal(await she.page.locator("#symptom_date").inputValue(), today().iso);
    await she.types("issue.phone", "call me");
    await she.follows("issue.button");
    await she.sees("issue.heading");
    await she.isLedToTheProblem();
    assert.equal(await she.page.locator(":focus").inputValue(), "call me", "what was typed is kept");
    assert.equal(await she.page.locator("#symptom_date").inputValue(), today().iso);
    await she.page.keyboard.press("Control+A");
    await she.page.keyboard.type("+12065550142");
    await she.follows("issue.button");
    await she.sees("issued.heading");
    assert.match((await she.page.locator(".code__group").allTextContents()).join(" "), /^\d{4} \d{4}$/);
    await she.reaches("issued.hide");
    await she.page.keyboard.press("Enter");
    assert.equal(await she.page.locator(".code__digits").isVisible(), false);
    await she.follows("issued.status");
    await she.sees("lookup.heading");
    assert.equal(await she.page.locator("#result").textContent(), she.say("state.unused"));
    await she.follows("resend.link");
    await she.sees("resend.heading");
    await she.follows("resend.back");
    await she.follows("expire.link");
    await she.sees("expire.heading");
    await she.follows("expire.button");
    await she.sees("lookup.heading");
    assert.equal(await she.page.locator("#result").textContent(), she.say("state.expired"));
    await she.page.goto(`${ours.portalURL}keys`);
    await she.sees("error.forbidden");
    await she.signsOut();
  });

  test(`an administrator ${screen.name}`, async () => {
    const she = await atWork("administrator", screen);
    await she.looksAround(".place__nav:not(.place__nav--below)");
    await she.looksAround(".place__nav--below");
    await she.page.goto(`${ours.portalURL}settings`);
    await she.follows("options.change", { group: she.say("options.self_report") });
    await she.types("option.self_report_block", "1");
    await she.follows("options.save");
    await she.reads(she.say("options.change", { group: she.say("options.self_report") }));
    await she.isLedToTheProblem();
    assert.equal(await she.page.locator(":focus").inputValue(), "1", "what was typed is kept");
    await she.page.keyboard.press("Control+A");
    await she.page.keyboard.type("45");
    await she.follows("options.save");
    await she.sees("options.plan.heading");
    await she.follows("options.plan.again");
    await she.page.goto(`${ours.portalURL}staff`);
    await she.follows("staff.invite.link");
    await she.sees("staff.invite.heading");
    await she.follows("staff.invite.button");
    await she.isLedToTheProblem();
    await she.reads(she.say("staff.invite.heading"));
    await she.signsOut();
  });

  test(`an owner ${screen.name}`, async () => {
    const she = await atWork("owner", screen);
    await she.page.goto(`${ours.portalURL}api-keys`);
    await she.sees("apikey.heading");
    await she.page.goto(`${ours.portalURL}leaving`);
    await she.sees("leaving.heading");
    await she.page.goto(`${ours.portalURL}staff`);
    await she.follows("staff.change.link", { name: person(ours, "analyst").name });
    await she.reads(person(ours, "analyst").name);
    await she.follows("staff.suspend.link");
    await she.sees("staff.suspend.heading", { name: person(ours, "analyst").name });
    await she.follows("staff.step.back");
    await she.page.goto(`${ours.portalURL}account`);
    await she.sees("account.heading");
    await she.signsOut();
  });

  test(`an analyst ${screen.name}`, async () => {
    const she = await atWork("analyst", screen);
    await she.sees("statistics.heading");
    await she.follows("statistics.period.month");
    await she.sees("statistics.heading");
    await she.follows("statistics.period.today"); // the demo is no older than that
    await she.page.locator("data-plot canvas").first().waitFor();
    await she.sees("statistics.heading");
    await she.reaches("statistics.table");
    await she.page.keyboard.press("Enter");
    assert.equal(await she.page.locator("details[open] table").first().isVisible(), true);
    await she.reaches("statistics.csv");
    const [file] = await Promise.all([she.page.waitForEvent("download"), she.page.keyboard.press("Enter")]);
    assert.match(file.suggestedFilename(), /\.csv$/);
    await she.signsOut();
  });

  test(`an auditor ${screen.name}`, async () => {
    const she = await atWork("auditor", screen);
    await she.page.goto(`${ours.portalURL}audit`);
    await she.sees("audit.heading");
    await she.types("audit.who", "nobody at all");
    await she.follows("audit.button");
    await she.sees("audit.heading");
    await she.tells("audit.none");
    await she.follows("audit.all");
    await she.page.locator("tbody tr").first().waitFor();
    for (const place of ["staff", "roles", "settings", "api-keys", "keys", "sharing"]) {
      await she.page.goto(ours.portalURL + place);
      await she.reads(await she.page.locator("h1").textContent());
      assert.equal(await she.page.locator("main form[method=post]").count(), 0, `an auditor changes nothing at ${place}`);
    }
    await she.page.goto(`${ours.portalURL}codes/new`);
    await she.sees("error.forbidden");
    await she.signsOut();
  });

  test(`a key custodian asks, and who approves keys agrees, ${screen.name}`, async () => {
    const key = "keys.name.export";
    const custodian = await atWork("key-custodian", screen, theirs);
    const heading = custodian.say("keys.guide.heading", { key: custodian.say(key) });
    await custodian.page.goto(`${theirs.portalURL}keys`);
    await custodian.sees("keys.heading");
    await custodian.follows(key);
    await custodian.follows("keys.rotate.link");
    await custodian.types("keys.reason", "The keyboard turns the key.");
    await custodian.follows("keys.rotate.button");
    await custodian.reads(heading);
    const rotation = custodian.page.url();
    // Another process makes the version.
    while (!(await custodian.page.getByText(custodian.say("keys.guide.ask.button")).count())) await custodian.page.reload();
    await custodian.reads(heading);
    await custodian.types("keys.reason", "Both know it, by telephone.");
    await custodian.follows("keys.guide.ask.button");
    await custodian.tells("keys.guide.asked");

    const approver = await atWork("owner", screen, theirs);
    await approver.page.goto(`${theirs.portalURL}approvals`);
    await approver.sees("approvals.heading");
    const request = await approver.page.locator("tbody a").first().textContent();
    await pressEnterOn(approver.page, request);
    await approver.reads(request);
    await approver.follows("approvals.refuse");
    await approver.isLedToTheProblem();
    await approver.reads(request);
    await approver.follows("approvals.approve");
    await approver.tells("approvals.approved");
    await approver.sees("approvals.heading");

    await custodian.page.goto(rotation);
    await custodian.tells("keys.guide.agreed", { name: person(theirs, "owner").name });
    await custodian.reads(heading);
    await custodian.follows("keys.activate.link");
    await custodian.sees("keys.activate.heading");
    await custodian.follows("keys.back");
    await custodian.follows("keys.cancel.link");
    await custodian.sees("keys.cancel.heading");
    await custodian.follows("keys.cancel.button");
    await custodian.tells("keys.cancel.done");
    await custodian.signsOut();
    await approver.signsOut();
  });

  test(`an operator ${screen.name}`, async () => {
    const she = await atThePlatform("operator", screen, "Operator of the platform");
    await she.sees("operator.heading");
    await she.types("operator.search", ours.slug);
    await she.follows("operator.search.button");
    await pressEnterOn(she.page, ours.name);
    await she.reads(ours.name);
    await she.follows("operator.suspend.link");
    await she.sees("operator.suspend.heading", { authority: ours.name });
    await she.follows("operator.suspend.button");
    await she.isLedToTheProblem();
    await she.sees("operator.suspend.heading", { authority: ours.name });
    await she.follows("operator.back.tenant");
    await she.looksAround(".place__nav");
    await she.signsOut();
  });

  test(`support ${screen.name}`, async () => {
    const she = await atThePlatform("support", screen, "Support of the platform");
    await she.sees("operator.heading");
    await pressEnterOn(she.page, ours.name);
    await she.reads(ours.name);
    assert.equal(await she.page.getByText(she.say("operator.suspend.link")).count(), 0, "support suspends nobody");
    await she.page.goto(ours.portalURL);
    await she.sees("error.missing");
    await she.signsOut();
  });
}
