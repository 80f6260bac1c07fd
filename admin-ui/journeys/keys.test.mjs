// A key is rotated as Apple and Google ask for it: the new version goes out with a
// configuration pack, what is noted there counts in the rotation, and a second person agrees.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { check, launch, open, ours, pressEnterOn, signIn, tabTo, theirs } from "./portal.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

async function type(page, label, text) {
  await tabTo(page, label);
  await page.keyboard.type(text);
}

/** Looks again until the page says so: what is asked for is done by another process. */
async function until(page, text) {
  for (let i = 0; i < 60; i++) {
    if ((await page.locator("main").textContent()).includes(text)) return;
    await page.waitForTimeout(500);
    await page.reload();
  }
  assert.fail(`the page never says "${text}"`);
}

/** Notes on the pack's page that somebody was given it. */
async function handOver(page, to, whom) {
  await page.locator(`label[for=recipient_${to}]`).click();
  await page.getByLabel("Person").fill(whom);
  await pressEnterOn(page, "Note that it was handed over");
}

test("an owner makes a pack of a new key, hands it over, and it counts in the rotation", async () => {
  const { page, faults } = await open(browser);
  await signIn(page, ours, "owner");
  await page.goto(ours.portalURL + "keys");
  await check(page, "keys-1-all", "Keys");
  await page.getByRole("link", { name: "Export files", exact: true }).click();
  await check(page, "keys-2-export", "Export files");
  await pressEnterOn(page, "Rotate now");
  await check(page, "keys-3-rotate", "Rotate: Export files");
  await pressEnterOn(page, "Rotate");
  assert.match(await page.locator("#reason_error").textContent(), /Say why/);
  await type(page, "Why", "Once a year.");
  await pressEnterOn(page, "Rotate");
  const rotation = page.url();
  await until(page, "The new version waits");
  await check(page, "keys-4-waits", "Rotation: Export files");
  await pressEnterOn(page, "Configuration packs");
  await check(page, "pack-1-packs", "Configuration for Apple and Google");
  await pressEnterOn(page, "Check everything and make a pack");
  await check(page, "pack-2-review", "Check and make a pack");
  await pressEnterOn(page, "Make the pack");
  await until(page, "Ready");
  assert.match(await page.locator("h1").textContent(), /^Pack \d+$/);
  await check(page, "pack-3-made", await page.locator("h1").textContent());
  await pressEnterOn(page, "Note that it was handed over");
  assert.match(await page.locator("#person_error").textContent(), /Enter the name/);
  await handOver(page, "apple", "Alex at Apple");
  await handOver(page, "google", "Gil at Google");
  await check(page, "pack-4-handed", await page.locator("h1").textContent());
  await pressEnterOn(page, "Export files: The new version waits");
  assert.equal(page.url(), rotation);
  await check(page, "keys-5-handed", "Rotation: Export files");
  const main = await page.locator("main").textContent();
  assert.match(main, /Apple was given a pack that carries it/);
  assert.doesNotMatch(main, /I have handed it over/);
  assert.deepEqual(faults, []);
});

test("what was not confirmed takes a reason, and a second person is asked", async () => {
  const { page, faults } = await open(browser);
  await signIn(page, ours, "owner");
  await page.goto(ours.portalURL + "keys");
  await pressEnterOn(page, "Export files: go on with its rotation");
  await pressEnterOn(page, "Note this confirmation");
  assert.match(await page.locator("#contact_error").textContent(), /Say who confirmed it/);
  await type(page, "Who confirmed", "A letter of today");
  await pressEnterOn(page, "Note this confirmation");
  await type(page, "Why", "Google has it, by telephone.");
  await pressEnterOn(page, "Ask for agreement");
  await check(page, "keys-6-asked", "Rotation: Export files");
  assert.match(await page.locator("main").textContent(), /waits for a second person/);
  await pressEnterOn(page, "Cancel");
  await check(page, "keys-7-cancel", await page.locator("h1").textContent());
  await pressEnterOn(page, "Cancel the rotation");
  assert.match(await page.locator("main").textContent(), /Cancelled/);
  assert.deepEqual(faults, []);
});

test("another department's rotation is not found, and a caseworker sees no keys", async () => {
  const { page } = await open(browser);
  await signIn(page, theirs, "owner");
  await page.goto(`${theirs.portalURL}keys/rotations/00000000-0000-4000-8000-000000000000`);
  assert.match(await page.locator("h1").textContent(), /There is no such rotation/);
  const clerk = await open(browser);
  await signIn(clerk.page, ours, "caseworker");
  await clerk.page.goto(ours.portalURL + "keys");
  await check(clerk.page, "keys-8-refused", "You may not do this");
});
