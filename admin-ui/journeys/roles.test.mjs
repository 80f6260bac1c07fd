// An owner makes a role, sees what would change before she saves, and asks why somebody may
// do something; nobody gives what she lacks; a role that somebody has is not deleted.
import assert from "node:assert/strict";
import { test } from "node:test";
import { check, launch, open, ours, person, pressEnterOn, signIn, tabTo } from "./portal.mjs";

const custodian = person(ours, "key-custodian");

/** Chooses what a role says of an action, in the form. */
async function rule(page, action, choice) {
  await page.getByRole("group", { name: action, exact: true }).getByLabel(choice).check();
}

async function row(page, table, name) {
  return page.getByRole("table", { name: table }).getByRole("row", { name }).innerText();
}

/** The owner gives the custodian a role, or takes it away. */
async function give(page, role, has) {
  await page.goto(`${ours.portalURL}staff`);
  await page.getByRole("link", { name: `Change ${custodian.name}` }).click();
  await page.getByLabel(role, { exact: true }).setChecked(has);
  await pressEnterOn(page, "Save the roles");
}

test("a role is made, given, changed, explained and deleted", async () => {
  const browser = await launch();
  try {
    const owner = await open(browser);
    const { page } = owner;
    await signIn(page, ours, "owner");
    await page.goto(`${ours.portalURL}roles`);
    await check(page, "roles-1-list", "Roles");
    await pressEnterOn(page, "Make a role");
    await check(page, "roles-2-form", "Make a role");
    await tabTo(page, "Name of the role");
    await page.keyboard.type("Desk!");
    await rule(page, "Issue codes", "Allow");
    await rule(page, "Make and change roles", "Allow");
    await pressEnterOn(page, "See what would change");
    await check(page, "roles-3-problem", "Make a role");
    assert.equal(await page.getByRole("group", { name: "Issue codes", exact: true }).getByLabel("Allow").isChecked(), true);
    await page.getByLabel("Name of the role").fill("night-desk");
    await page.getByLabel("What it is for").fill("Answers the telephone at night");
    await pressEnterOn(page, "See what would change");
    await check(page, "roles-4-plan", "Save the role night-desk?");
    assert.match(await row(page, "What is different", "Issue codes"), /Yes, your rule|Allow/);
    await page.getByText("Nobody may do more or less than before").waitFor();
    await pressEnterOn(page, "Save the role");
    await page.getByText("The role night-desk was saved").waitFor();

    const worker = await open(browser);
    await signIn(worker.page, ours, "key-custodian");
    assert.equal((await worker.page.goto(`${ours.portalURL}codes/new`)).status(), 403);
    await give(page, "night-desk", true);
    assert.equal((await worker.page.goto(`${ours.portalURL}codes/new`)).status(), 200, "it counts for who is signed in");
    assert.equal((await worker.page.goto(`${ours.portalURL}codes`)).status(), 403);

    await worker.page.goto(`${ours.portalURL}roles/new`);
    await worker.page.getByLabel("Name of the role").fill("more-than-mine");
    await worker.page.getByLabel("What it is for").fill("More than I may do");
    await rule(worker.page, "Change the settings", "Allow");
    await pressEnterOn(worker.page, "See what would change");
    await check(worker.page, "roles-5-lacking", "Make a role");
    assert.match(await worker.page.locator("#problems").textContent(), /You cannot give what you may not do yourself: Change the settings/);

    await page.goto(`${ours.portalURL}roles/night-desk/edit`);
    await check(page, "roles-6-edit", "Change the role night-desk");
    await rule(page, "See what became of a code", "Allow");
    await rule(page, "Issue codes", "Never");
    await pressEnterOn(page, "See what would change");
    await check(page, "roles-7-simulated", "Save the role night-desk?");
    const effect = await row(page, "For whom what changes", custodian.name);
    assert.match(effect, /See what became of a code/, "what she gains");
    assert.match(effect, /Issue codes/, "what she loses");
    await pressEnterOn(page, "Save the role");
    await page.getByText("The role night-desk was saved").waitFor();
    assert.equal((await worker.page.goto(`${ours.portalURL}codes`)).status(), 200);
    assert.equal((await worker.page.goto(`${ours.portalURL}codes/new`)).status(), 403);

    await pressEnterOn(page, "Why may somebody do something?");
    await check(page, "roles-8-explain", "Why may somebody do something?");
    await page.getByLabel("Who").selectOption({ label: custodian.name });
    await page.getByLabel("What", { exact: true }).selectOption({ label: "Issue codes" });
    await pressEnterOn(page, "Explain");
    await check(page, "roles-9-explained", "Why may somebody do something?");
    assert.equal(await page.locator("#verdict").textContent(), `${custodian.name} may not: Issue codes`);
    assert.match(await page.locator("main").innerText(), /night-desk/);

    await page.goto(`${ours.portalURL}roles/night-desk/delete`);
    await check(page, "roles-10-held", "Delete the role night-desk?");
    assert.equal(await page.getByRole("button", { name: "Delete the role" }).count(), 0);
    await give(page, "night-desk", false);
    await page.goto(`${ours.portalURL}roles/night-desk/delete`);
    await check(page, "roles-11-delete", "Delete the role night-desk?");
    await pressEnterOn(page, "Delete the role");
    await page.getByText("The role night-desk was deleted").waitFor();
    assert.equal((await worker.page.goto(`${ours.portalURL}codes`)).status(), 403);
    assert.deepEqual([...owner.faults, ...worker.faults], []);
  } finally {
    await browser.close();
  }
});
