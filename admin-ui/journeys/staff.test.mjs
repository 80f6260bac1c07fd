// Somebody is invited, follows the link in the letter, joins, is suspended while she works,
// and is removed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { check, launch, open, ours, pressEnterOn, signIn, tabTo } from "./portal.mjs";

const mailbox = `${new URL(ours.portalURL).origin}/dev/mailbox`;

test("a newcomer is invited, joins, and is suspended and removed", async () => {
  const browser = await launch();
  try {
    const owner = await open(browser);
    await signIn(owner.page, ours, "owner");
    await owner.page.goto(`${ours.portalURL}staff`);
    await check(owner.page, "staff-1-list", "Staff");
    await pressEnterOn(owner.page, "Invite somebody");
    await check(owner.page, "staff-2-invite", "Invite somebody");
    await pressEnterOn(owner.page, "Send the invitation");
    await check(owner.page, "staff-3-problem", "Invite somebody");
    await tabTo(owner.page, "Name");
    await owner.page.keyboard.type("Noa Newcomer");
    await tabTo(owner.page, "E-mail address");
    await owner.page.keyboard.type("noa@newcomer.example");
    await owner.page.getByLabel("Caseworker").check();
    await pressEnterOn(owner.page, "Send the invitation");
    await owner.page.getByText("The invitation was sent").waitFor();
    await check(owner.page, "staff-4-invited", "Staff");

    const guest = await open(browser, { colorScheme: "dark" });
    await guest.page.goto(mailbox);
    await guest.page.locator("article", { hasText: "noa@newcomer.example" }).first().getByRole("link").click();
    await guest.page.getByRole("link", { name: "Continue to sign in" }).click();
    await guest.page.getByRole("button", { name: "Sign in as Noa Newcomer" }).click();
    await check(guest.page, "staff-5-join", `Join the staff of ${ours.name}?`);
    await pressEnterOn(guest.page, "Accept the invitation");
    await guest.page.getByText(`Welcome to ${ours.name}`).waitFor();

    await owner.page.goto(`${ours.portalURL}staff`);
    await owner.page.getByRole("link", { name: "Change Noa Newcomer" }).click();
    await check(owner.page, "staff-6-person", "Noa Newcomer");
    await owner.page.getByRole("link", { name: "Suspend" }).click();
    await check(owner.page, "staff-7-suspend", "Suspend Noa Newcomer?");
    await pressEnterOn(owner.page, "Suspend");
    await owner.page.getByText("The person is suspended").waitFor();
    await guest.page.reload();
    await check(guest.page, "staff-8-suspended", "Your work here is suspended");

    await owner.page.getByRole("link", { name: "Change Noa Newcomer" }).click();
    await owner.page.getByRole("link", { name: "Remove" }).click();
    await owner.page.getByRole("button", { name: "Remove" }).click();
    await owner.page.getByText("The person was removed").waitFor();
    assert.deepEqual([...owner.faults, ...guest.faults], []);
  } finally {
    await browser.close();
  }
});
