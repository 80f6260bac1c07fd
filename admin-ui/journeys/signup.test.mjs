// A health authority that nobody knows signs up: from the public page to a sandbox, an
// operator's approval and the first code of the production tenant. Its domain is proven in
// the development stack's own DNS.
import assert from "node:assert/strict";
import { test } from "node:test";
import { check, launch, open, ours, pressEnterOn, today } from "./portal.mjs";

const origin = new URL(ours.portalURL).origin;

async function newestLetter(page, to) {
  for (let i = 0; i < 100; i++) {
    const letters = await (await page.request.get(`${origin}/dev/mailbox.json`)).json();
    const found = letters.find((l) => l.To === to);
    if (found) return found;
    await page.waitForTimeout(50);
  }
  assert.fail(`no letter to ${to}`);
}

async function fill(page, fields) {
  for (const [label, value] of Object.entries(fields)) await page.getByLabel(label).fill(value);
}

async function issueCode(page, picture) {
  await page.getByText("Confirmed positive").click();
  await page.getByLabel("Test taken").fill(today().iso);
  await page.getByRole("button", { name: "Issue code" }).click();
  await check(page, picture, "Verification code issued");
}

test("from the public page to the first code", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await page.goto(`${origin}/signup`);
    await check(page, "signup-start", "Sign your health authority up");
    await page.getByRole("link", { name: "Continue to sign in" }).click();
    await page.getByRole("button", { name: "Sign in as Applicant of Lakeland" }).click();
    await fill(page, {
      "Name of the health authority": "=Lakeland Department of Health",
      Region: "US-MN",
      "Official web domain": "co.uk",
      "Your name": "Ada Lake",
      "E-mail address for questions": "team@health.lakeland.example",
      "Telephone number for questions": "+1 206 555 0142",
      Languages: "en, es-419",
      "Verification codes a day": "100",
    });
    await pressEnterOn(page, "Send");
    await check(page, "signup-form", "Your health authority");
    await fill(page, { "Name of the health authority": "Lakeland Department of Health", "Official web domain": "health.lakeland.example" });
    await pressEnterOn(page, "Send");
    await check(page, "signup-proof", "Prove that health.lakeland.example is yours");
    await pressEnterOn(page, "Change your application");
    await check(page, "signup-change", "Your health authority");
    await page.goBack();

    await pressEnterOn(page, "Look for the record");
    await page.getByText("The DNS does not have the record yet").first().waitFor();
    const [name, value] = await page.locator(".facts .id").allTextContents();
    await page.request.post(`${origin}/dev/dns`, { form: { name, value } });
    await pressEnterOn(page, "Look for the record");
    await check(page, "signup-waiting", "Your sandbox is open");

    await pressEnterOn(page, "Open your sandbox");
    await check(page, "signup-sandbox", "Issue a verification code");
    await page.getByText("Nothing here reaches anybody’s phone").waitFor();
    await issueCode(page, "signup-sandbox-code");

    const operator = await open(browser);
    await operator.page.goto(`${origin}/operator/applications`);
    await operator.page.getByRole("link", { name: "Continue to sign in" }).click();
    await operator.page.getByRole("button", { name: "Sign in as Operator of the platform" }).click();
    await operator.page.getByRole("link", { name: "Lakeland Department of Health" }).click();
    await check(operator.page, "signup-review", "Lakeland Department of Health");
    for (const [link, heading] of [
      ["Ask back", "Ask Lakeland Department of Health back?"],
      ["Refuse", "Refuse Lakeland Department of Health?"],
    ]) {
      await pressEnterOn(operator.page, link);
      await check(operator.page, `signup-${link === "Refuse" ? "refuse" : "ask"}`, heading);
      await operator.page.goBack();
    }
    await pressEnterOn(operator.page, "Approve");
    await check(operator.page, "signup-approve", "Approve Lakeland Department of Health?");
    await operator.page.getByRole("button", { name: "Approve" }).click();
    await operator.page.getByText("Approved. The health authority is live").waitFor();

    const letter = await newestLetter(page, "applicant@health.lakeland.example");
    assert.equal(letter.Subject, "Your health authority is live");
    await page.goto(letter.Text.match(/https?:\S+/)[0]);
    assert.equal(await page.locator("body.sandbox").count(), 0);
    await issueCode(page, "signup-code");
    assert.deepEqual([...faults, ...operator.faults], []);
  } finally {
    await browser.close();
  }
});

test("a link by letter confirms an address, without scripts, in its own browser only", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser, { javaScriptEnabled: false });
    await page.goto(`${origin}/signup`);
    await page.getByLabel("Your e-mail address").fill("ada@river.example");
    await page.getByRole("button", { name: "Send me a link" }).click();
    assert.equal(await page.locator("h1").textContent(), "Look into your mailbox");
    const [link] = (await newestLetter(page, "ada@river.example")).Text.match(/https?:\S+/);

    const other = await open(browser);
    await other.page.goto(link);
    await check(other.page, "signup-other-browser", "This link belongs to another browser");

    await page.goto(link);
    await page.getByRole("button", { name: "Confirm and go on" }).click();
    assert.equal(await page.locator("h1").textContent(), "Your health authority");
    await page.getByText("You apply as ada@river.example.").waitFor();
    await page.goto(link);
    assert.equal(await page.locator("h1").textContent(), "This link has been used");
    assert.deepEqual([...faults, ...other.faults], []);
  } finally {
    await browser.close();
  }
});
