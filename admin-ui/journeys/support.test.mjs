// Platform support is invited for some hours, looks, changes nothing, leaves traces on both
// sides, and is shut out when the invitation is over.
import assert from "node:assert/strict";
import { test } from "node:test";
import { check, launch, open, ours, pressEnterOn, signIn, tabTo } from "./portal.mjs";

const origin = new URL(ours.portalURL).origin;

async function platform(browser, who, path) {
  const someone = await open(browser);
  await someone.page.goto(origin + path);
  await someone.page.getByRole("link", { name: /Continue (to sign in|with a Carillon account)/ }).click();
  await someone.page.getByRole("button", { name: `Sign in as ${who} of the platform` }).click();
  return someone;
}

test("support is invited, looks, and is shut out", async () => {
  const browser = await launch();
  try {
    const support = await platform(browser, "Support", "/operator");
    assert.equal((await support.page.goto(ours.portalURL)).status(), 404);
    await check(support.page, "support-1-stranger", "Page not found");

    const owner = await open(browser);
    await signIn(owner.page, ours, "owner");
    await owner.page.goto(`${ours.portalURL}support`);
    await check(owner.page, "support-2-none", "Support");
    await pressEnterOn(owner.page, "Invite support");
    await check(owner.page, "support-3-invite", "Invite support");
    await tabTo(owner.page, "E-mail address");
    await owner.page.keyboard.type("support@platform.example");
    await owner.page.getByLabel("Hours").fill("25");
    await pressEnterOn(owner.page, "Invite");
    await check(owner.page, "support-4-problem", "Invite support");
    assert.equal(await owner.page.locator("#email").inputValue(), "support@platform.example");
    assert.match(await owner.page.locator("#hours_error").textContent(), /from 1 to 24/);
    await owner.page.getByLabel("Hours").fill("1");
    await pressEnterOn(owner.page, "Invite");
    await check(owner.page, "support-5-invited", "Support");

    await support.page.goto(`${origin}/operator`);
    await check(support.page, "support-6-places", "Health authorities");
    await pressEnterOn(support.page, ours.name);
    await check(support.page, "support-7-inside", "Audit log");
    for (const [path, status] of [
      ["staff", 200],
      ["audit", 200],
      ["codes/new", 403],
      ["staff/invite", 403],
      ["support/new", 403],
      ["api-keys/new", 403],
    ]) {
      assert.equal((await support.page.goto(ours.portalURL + path)).status(), status, path);
    }
    await check(support.page, "support-8-forbidden", "You may not do this");

    await owner.page.goto(`${ours.portalURL}audit?action=support`);
    await check(owner.page, "support-9-audit", "Audit log");
    const entries = await owner.page.locator("main").innerText();
    assert.match(entries, /support:invite/);
    assert.match(entries, /support:enter/);
    const operator = await platform(browser, "Operator", "/operator/log");
    await check(operator.page, "support-10-log", "Platform log");
    assert.match(await operator.page.locator("main").innerText(), /support:enter/);

    await owner.page.goto(`${ours.portalURL}support`);
    await pressEnterOn(owner.page, "Revoke");
    await owner.page.getByText("The invitation is revoked").waitFor();
    await check(owner.page, "support-11-revoked", "Support");
    assert.equal((await support.page.goto(`${ours.portalURL}audit`)).status(), 404);
    await check(support.page, "support-12-out", "Page not found");
    await support.page.goto(`${origin}/operator`);
    assert.equal(await support.page.getByText("You are invited to").count(), 0);
    assert.deepEqual([...owner.faults, ...support.faults, ...operator.faults], []);
  } finally {
    await browser.close();
  }
});
