// An administrator changes a setting by keyboard, writes a text and watches its length,
// and looks at the limits.
import assert from "node:assert/strict";
import { test } from "node:test";
import { check, launch, open, ours, pressEnterOn, signIn, tabTo } from "./portal.mjs";

test("an owner changes settings, writes a text and looks at limits", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await signIn(page, ours, "owner");
    await page.goto(`${ours.portalURL}settings`);
    await check(page, "settings-1-all", "What your authority chooses");
    await pressEnterOn(page, "Change: Certificates");
    await check(page, "settings-2-form", "Change: Certificates");
    await tabTo(page, "A certificate is good for, in minutes");
    await page.keyboard.press("Control+A");
    await page.keyboard.type("99");
    await pressEnterOn(page, "Save");
    await check(page, "settings-3-problem", "Change: Certificates");
    const life = page.getByLabel("A certificate is good for, in minutes");
    assert.equal(await life.inputValue(), "99");
    await life.fill("16");
    await page.getByRole("button", { name: "Save" }).click();
    await check(page, "settings-4-plan", "Make these changes?");
    await pressEnterOn(page, "Make the changes");
    await page.getByText("1 setting was changed").waitFor();
    await page.getByText("16 minutes").first().waitFor();
    await page.goto(`${ours.portalURL}settings/codes`);
    await check(page, "settings-5-codes", "Change: Codes");
    await page.goto(`${ours.portalURL}settings/messages`);
    await check(page, "settings-6-messages", "Change: Text messages");

    await page.goto(`${ours.portalURL}texts`);
    await check(page, "texts-1-list", "Message texts");
    await pressEnterOn(page, "Write another text");
    await page.getByLabel("Language").last().fill("fr");
    await page.getByLabel("Text", { exact: true }).fill("Votre lien : [enslink] Valable [longexpires] heures.");
    await page.getByText(/^1 segment: \d+ characters of 7 bits/).waitFor();
    await page.getByText("Valable 24 heures.").waitFor();
    await page.getByLabel("Text", { exact: true }).fill("Votre code 😀");
    await page.getByText("of 16 bits").waitFor();
    await check(page, "texts-2-live", "A message text");
    await page.getByLabel("Text", { exact: true }).fill("Votre lien : [enslink] Valable [longexpires] heures.");
    await page.getByRole("button", { name: "Check the text" }).click();
    await check(page, "texts-3-plan", "Use this text?");
    await page.getByRole("link", { name: "Back to the texts" }).click();
    await page.getByRole("link", { name: "Send a test message" }).click();
    await page.getByLabel("Phone number").fill("+1 206 555 0142");
    await check(page, "texts-4-test", "Send a test message");
    await pressEnterOn(page, "Send it");
    await page.getByText("Your provider took the test message").waitFor();

    await page.goto(`${ours.portalURL}limits?factor=0.5`);
    await check(page, "limits-1", "Limits");

    await page.goto(`${ours.portalURL}alerts`);
    await check(page, "alerts-1-none", "Alerts");
    await pressEnterOn(page, "Add an alert");
    await page.getByRole("button", { name: "Save the alert" }).click();
    await check(page, "alerts-2-problem", "Add an alert");
    await page.getByLabel("E-mail addresses").fill("team@north-shore.example");
    await page.getByRole("button", { name: "Save the alert" }).click();
    await page.getByText("The alert was added").waitFor();
    await check(page, "alerts-3-list", "Alerts");
    await page.getByRole("link", { name: "Remove" }).click();
    await check(page, "alerts-4-remove", "Remove this alert?");
    await page.getByRole("button", { name: "Remove the alert" }).click();
    await page.getByText("The alert was removed").waitFor();
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});
