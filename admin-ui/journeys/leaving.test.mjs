// A health authority takes its data, and one person asks that it leave. She cannot approve
// that herself, and withdraws it, so that the other journeys find all as it was.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { check, launch, open, ours, pressEnterOn, signIn, tabTo } from "./portal.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

async function openAs(role, path) {
  const visit = await open(browser);
  await signIn(visit.page, ours, role);
  await visit.page.goto(ours.portalURL + path);
  return visit;
}

test("an owner asks for an archive, and takes it when it is made", async () => {
  const { page, faults } = await openAs("owner", "leaving");
  await check(page, "leaving-1", "Leaving Carillon");
  await pressEnterOn(page, "Archives of your data");
  await check(page, "leaving-2-no-archive", "Your data");
  await pressEnterOn(page, "Ask for an archive");
  await check(page, "leaving-3-ask-for-archive", "Ask for an archive");
  await pressEnterOn(page, "Have it made");
  await check(page, "leaving-4-archive-is-made", "Your data");
  const again = page.getByRole("link", { name: "Look again" });
  for (let i = 0; i < 60 && (await again.count()); i++) {
    await page.waitForTimeout(500);
    await page.reload();
  }
  await check(page, "leaving-5-archive-is-ready", "Your data");
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Take the archive" }).click()]);
  assert.match(file.suggestedFilename(), /^carillon-archive-north-shore-\d{4}-\d\d-\d\d\.zip$/);
  const body = readFileSync(await file.path());
  assert.equal(body.subarray(0, 2).toString(), "PK");
  assert.ok(body.includes("manifest.json"));
  assert.deepEqual(faults, []);
});

test("an owner asks to leave, cannot approve it herself, and withdraws it", async () => {
  const owner = await openAs("owner", "leaving");
  await pressEnterOn(owner.page, "Ask to leave");
  await check(owner.page, "leaving-6-ask", "Ask to leave");
  await tabTo(owner.page, "Name of your health authority");
  await owner.page.keyboard.type("north");
  await tabTo(owner.page, "Reason");
  await owner.page.keyboard.type("The department ends its service.");
  await pressEnterOn(owner.page, "Ask that it leave");
  await check(owner.page, "leaving-7-problem", "Ask to leave");
  await owner.page.getByLabel("Name of your health authority").fill(ours.slug);
  await pressEnterOn(owner.page, "Ask that it leave");
  await check(owner.page, "leaving-8-waits", "Leaving Carillon");

  const administrator = await openAs("administrator", "approvals");
  await check(administrator.page, "leaving-9-nothing-for-an-administrator", "Approvals");
  assert.equal(await administrator.page.getByRole("link", { name: /^Leave Carillon/ }).count(), 0);

  await owner.page.goto(`${ours.portalURL}approvals`);
  await owner.page.getByRole("link", { name: /^Leave Carillon/ }).click();
  await check(owner.page, "leaving-10-request", `Leave Carillon and erase ${ours.name}`);
  assert.equal(await owner.page.getByRole("button", { name: "Approve" }).count(), 0, "who asks cannot approve");
  await pressEnterOn(owner.page, "Withdraw the request");
  await check(owner.page, "leaving-11-withdrawn", "Approvals");
  await owner.page.goto(`${ours.portalURL}leaving`);
  assert.equal(await owner.page.getByRole("link", { name: "Ask to leave" }).count(), 1, "it can be asked for anew");
  assert.deepEqual([...owner.faults, ...administrator.faults], []);
});
