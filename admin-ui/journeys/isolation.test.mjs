import assert from "node:assert/strict";
import { test } from "node:test";
import { check, launch, open, ours, signIn, theirs } from "./portal.mjs";

test("another department's portal does not exist for a caseworker", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser, { colorScheme: "dark" });
    await signIn(page, ours, "caseworker");
    await check(page, "isolation-1-ours", "Issue a verification code");
    for (const path of ["", "codes/new", "codes", "codes?id=0b6c4b7e-3f0a-4c1d-9c55-2f8d1a7e9b10"]) {
      const answer = await page.goto(theirs.portalURL + path);
      assert.equal(answer.status(), 404, path);
      await check(page, "isolation-2-theirs", "Page not found");
      assert.ok(!(await page.content()).includes(theirs.name), "the page does not name the department");
    }
    const none = await page.goto(theirs.portalURL.replace(theirs.slug, "no-such-department"));
    assert.equal(none.status(), 404);
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});

test("an analyst is not offered codes", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await signIn(page, ours, "analyst");
    await check(page, "isolation-3-analyst", "How the programme does");
    const answer = await page.goto(`${ours.portalURL}codes/new`);
    assert.equal(answer.status(), 403);
    await check(page, "isolation-4-forbidden", "You may not do this");
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});
