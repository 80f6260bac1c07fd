// Two departments share keys: one offers, the other accepts and ends it; then one offers
// and withdraws, without scripts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { check, launch, open, ours, pressEnterOn, signIn, tabTo, theirs } from "./portal.mjs";

async function openSharing(page, department) {
  await signIn(page, department, "owner");
  await page.goto(`${department.portalURL}sharing`);
}

test("keys are offered, accepted and ended with the keyboard", async () => {
  const browser = await launch();
  try {
    const donor = await open(browser);
    await openSharing(donor.page, ours);
    await check(donor.page, "sharing-1-list", "Shared keys");
    await pressEnterOn(donor.page, "Offer our keys");
    await check(donor.page, "sharing-2-offer", "Offer our keys");
    await pressEnterOn(donor.page, "Make the offer");
    await check(donor.page, "sharing-3-problem", "Offer our keys");
    await tabTo(donor.page, "Name of the health authority in URLs");
    await donor.page.keyboard.type(theirs.slug);
    await pressEnterOn(donor.page, "Make the offer");
    await check(donor.page, "sharing-4-offered", "Shared keys");
    await donor.page.getByText("Your offer was made").waitFor();

    const recipient = await open(browser, { colorScheme: "dark" });
    await openSharing(recipient.page, theirs);
    await pressEnterOn(recipient.page, `Answer the offer of ${ours.name}`);
    await check(recipient.page, "sharing-5-answer", `Accept the keys of ${ours.name}?`);
    await pressEnterOn(recipient.page, "Accept the keys");
    await check(recipient.page, "sharing-6-accepted", "Shared keys");

    await donor.page.reload();
    await donor.page.getByText("Accepted. Keys are shared.").waitFor();
    await pressEnterOn(donor.page, "Who sees our keys");
    await check(donor.page, "sharing-7-seen", "Who sees our keys");

    await pressEnterOn(recipient.page, `Stop taking keys from ${ours.name}`);
    await check(recipient.page, "sharing-8-end", `Stop taking keys from ${ours.name}?`);
    await pressEnterOn(recipient.page, "Stop taking keys");
    await check(recipient.page, "sharing-9-ended", "Shared keys");
    await recipient.page.getByText("You take no more keys").waitFor();
    assert.deepEqual([...donor.faults, ...recipient.faults], []);
  } finally {
    await browser.close();
  }
});

test("an offer is withdrawn in two steps without scripts", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser, { javaScriptEnabled: false });
    await openSharing(page, theirs);
    await page.getByRole("link", { name: "Offer our keys" }).click();
    await page.getByLabel("Name of the health authority in URLs").fill("no-such-department");
    await page.getByRole("button", { name: "Make the offer" }).click();
    await page.getByText("Your offer was made").waitFor();
    await page.getByRole("link", { name: "Withdraw the offer to no-such-department" }).click();
    assert.equal(await page.locator("h1").textContent(), "Withdraw the offer to no-such-department?");
    await page.getByRole("button", { name: "Withdraw the offer" }).click();
    await page.getByText("The offer was withdrawn").waitFor();
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});
