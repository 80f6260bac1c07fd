// A health authority brings its own identity provider: it is added, tried, made active; a new
// colleague comes by it and works; sessions end there; sensitive acts ask there again.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { check, launch, open, person, pressEnterOn, tabTo, theirs, today } from "./portal.mjs";

const origin = new URL(theirs.portalURL).origin;
const issuer = `${origin}/dev/own-idp`;
const name = "River Valley staff account";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** Signs the owner in with her Carillon account, whatever else there is. */
async function openAsOwner(path) {
  const owner = await open(browser);
  await owner.page.goto(theirs.portalURL + path);
  await owner.page.getByRole("link", { name: /Continue (to sign in|with a Carillon account)/ }).click();
  await owner.page.getByRole("button", { name: `Sign in as ${person(theirs, "owner").name}` }).click();
  return owner;
}

/** Signs somebody in at the department's own provider, which is in front of the page. */
async function beAtWork(page, who) {
  assert.match(page.url(), /\/dev\/own-idp\/login/, "the department's own provider is asked");
  await pressEnterOn(page, `Sign in as ${who}`);
}

async function fact(page, term) {
  return page.locator(".facts div", { hasText: term }).locator("dd").textContent();
}

test("a provider is added, faulty entries are told, and a trial that fails is followed by one that passes", async () => {
  const { page, faults } = await openAsOwner("sign-in");
  await check(page, "own-1-none", "Sign-in");
  await pressEnterOn(page, "Add an identity provider");
  for (const [label, text] of [
    ["Name", name],
    ["Issuer", "http//not-an-address"],
    ["Client ID", "carillon-at-work"],
    ["Client secret", "river-valley-secret"],
    ["Scopes", "openid email profile"],
    ["E-mail domains that are taken", "river-valley.example"],
    ["Claim with groups", "groups"],
    ["Roles that follow from a group", "tracers = caseworker"],
    ["Required methods of sign-in", "hardware-key"],
  ]) {
    await tabTo(page, label);
    await page.keyboard.type(text);
  }
  await pressEnterOn(page, "Save as a draft");
  await check(page, "own-2-problem", "Add an identity provider");
  assert.equal(await page.locator("#issuer").getAttribute("aria-invalid"), "true");
  assert.match(await page.locator("#issuer_error").textContent(), /Enter the https address of a provider/);
  assert.equal(await page.locator("#client_id").inputValue(), "carillon-at-work", "what was typed is kept");
  assert.equal(await page.locator("#client_secret").inputValue(), "", "a secret is not sent back");
  await page.getByLabel("Issuer").fill(issuer);
  await page.getByLabel("Client secret").fill("river-valley-secret");
  await pressEnterOn(page, "Save as a draft");
  await check(page, "own-3-draft", name);

  await pressEnterOn(page, "Try it");
  await beAtWork(page, person(theirs, "owner").name);
  await check(page, "own-4-failed", "The trial did not pass");
  assert.match(await fact(page, "What was wrong"), /stronger way to sign in/);
  await pressEnterOn(page, "Back to the provider");
  assert.equal(await page.getByRole("link", { name: "Make it active" }).count(), 0);

  await pressEnterOn(page, "Change this provider");
  await page.getByLabel("Required methods of sign-in").fill("mfa");
  await pressEnterOn(page, "Save as a draft");
  await pressEnterOn(page, "Try it");
  await beAtWork(page, person(theirs, "owner").name);
  await check(page, "own-5-passed", "The trial passed");
  assert.equal(await fact(page, "Your e-mail address there"), person(theirs, "owner").email);
  await pressEnterOn(page, "Make it active");
  await check(page, "own-6-activate", `Make ${name} active?`);
  await pressEnterOn(page, "Make it active");
  await check(page, "own-7-active", name);
  const told = await fact(page, "Back-channel logout address");
  await page.goto(`${issuer}/desk`);
  await page.getByLabel("Address that is told").fill(told);
  await page.getByRole("button", { name: "Register" }).click();
  await page.getByText("The address was registered").waitFor();
  assert.deepEqual(faults, []);
});

test("a domain is proved, and leads its people to the sign-in page", async () => {
  const { page, faults } = await openAsOwner("sign-in/domains");
  await tabTo(page, "Domain");
  await page.keyboard.type("river-valley.example");
  await pressEnterOn(page, "Add the domain");
  await check(page, "own-8-domain", "E-mail domains that lead here");
  const [record, value] = await page.locator("td .id").allTextContents();
  await page.request.post(`${origin}/dev/dns`, { form: { name: record, value } });
  await pressEnterOn(page, "Look for the record of river-valley.example");
  await page.getByText("The record is there").waitFor();

  const guest = await open(browser);
  await guest.page.goto(`${origin}/login`);
  await tabTo(guest.page, "Your e-mail address at work");
  await guest.page.keyboard.type("whoever@river-valley.example");
  await pressEnterOn(guest.page, "Find it");
  assert.equal(guest.page.url(), `${theirs.portalURL}login`);
  await check(guest.page, "own-9-found", "Sign in");
  assert.deepEqual([...faults, ...guest.faults], []);
});

test("a new colleague is invited, comes by the provider, and works in the role of her group", async () => {
  const owner = await openAsOwner("staff/invite");
  await owner.page.getByLabel("Name").fill("Nele Newhire");
  await owner.page.getByLabel("E-mail address").fill("nele@river-valley.example");
  await owner.page.getByLabel("Analyst").check();
  await pressEnterOn(owner.page, "Send the invitation");
  const colleague = await open(browser, { colorScheme: "dark" });
  const { page } = colleague;
  await page.goto(`${origin}/dev/mailbox`);
  await page.locator("article", { hasText: "nele@river-valley.example" }).first().getByRole("link").click();
  await check(page, "own-10-invited", "Sign in");
  await pressEnterOn(page, `Continue with ${name}`);
  await beAtWork(page, "Nele Newhire");
  await check(page, "own-11-join", `Join the staff of ${theirs.name}?`);
  await pressEnterOn(page, "Accept the invitation");
  await check(page, "own-12-issue", "Issue a verification code");
  await page.getByText("Confirmed positive").click();
  await page.getByLabel("Test taken").fill(today().iso);
  await pressEnterOn(page, "Issue code");
  await check(page, "own-13-issued", "Verification code issued");

  await pressEnterOn(page, "Sign out");
  await check(page, "own-14-out", "You have signed out");
  await pressEnterOn(page, "Sign out of your organization’s account");
  assert.equal(page.url(), `${origin}/login`, "the provider sends her back");
  await page.goto(`${issuer}/desk`);
  assert.equal(await page.getByRole("button", { name: "End the session of Nele Newhire" }).count(), 0, "and knows that she has gone");

  await page.goto(theirs.portalURL);
  await page.getByRole("link", { name: `Continue with ${name}` }).click();
  await beAtWork(page, "Nele Newhire");
  await check(page, "own-15-again", "Issue a verification code");
  const desk = await open(browser);
  await desk.page.goto(`${issuer}/desk`);
  await desk.page.getByRole("button", { name: "End the session of Nele Newhire" }).click();
  await desk.page.getByText("The session has ended, here and with the client").waitFor();
  await page.reload();
  await check(page, "own-16-ended", "Sign in");

  for (const [who, words] of [
    ["Uma Unverified", /has not been verified/],
    ["Elif Elsewhere", /of a domain that your health authority does not take/],
  ]) {
    await page.goto(`${theirs.portalURL}login`);
    await page.getByRole("link", { name: `Continue with ${name}` }).click();
    await beAtWork(page, who);
    assert.match(await page.locator("#problems").textContent(), words);
  }
  assert.deepEqual([...owner.faults, ...colleague.faults, ...desk.faults], []);
});

test("a member goes over with both accounts, proves herself there for a sensitive act, and is brought back", async () => {
  const administrator = person(theirs, "administrator");
  const { page, faults } = await open(browser);
  await page.goto(`${theirs.portalURL}login`);
  await pressEnterOn(page, `Continue with ${name}`);
  await beAtWork(page, administrator.name);
  await check(page, "own-17-unlinked", "Nobody on the staff signs in with this account");
  await pressEnterOn(page, "Continue with a Carillon account");
  await page.getByRole("button", { name: `Sign in as ${administrator.name}` }).click();
  await check(page, "own-18-account", "Your account");

  await pressEnterOn(page, `Use your ${name} from now on`);
  await beAtWork(page, person(theirs, "owner").name);
  await check(page, "own-19-other", "This account cannot become yours");
  await pressEnterOn(page, "Leave it as it is");
  await pressEnterOn(page, `Use your ${name} from now on`);
  await beAtWork(page, administrator.name);
  await check(page, "own-20-confirm", `Sign in with your ${name} from now on?`);
  await pressEnterOn(page, `Use my ${name}`);
  await page.getByText("You sign in with this account from now on").waitFor();
  await check(page, "own-21-done", "Your account");
  await pressEnterOn(page, "Sign out");

  // A sign-in of an hour ago does for reading, and not for inviting somebody.
  await page.goto(`${theirs.portalURL}staff`);
  await page.getByRole("link", { name: `Continue with ${name}` }).click();
  await page.getByLabel("I have been signed in here for an hour").check();
  await beAtWork(page, administrator.name);
  await check(page, "own-22-staff", "Staff");
  await pressEnterOn(page, "Invite somebody");
  await check(page, "own-23-again", "Sign in again");
  await pressEnterOn(page, "Continue to sign in");
  assert.equal(await page.getByLabel("I have been signed in here for an hour").count(), 0, "she is to sign in anew");
  await beAtWork(page, administrator.name);
  await check(page, "own-24-invite", "Invite somebody");

  const owner = await openAsOwner("staff");
  await owner.page.getByRole("link", { name: `Change ${administrator.name}` }).click();
  await check(owner.page, "own-25-person", administrator.name);
  await pressEnterOn(owner.page, "Bring back to the Carillon account of before");
  await check(owner.page, "own-26-back", `Bring ${administrator.name} back to the Carillon account?`);
  await pressEnterOn(owner.page, "Bring back");
  await owner.page.getByText("The person signs in with the Carillon account again").waitFor();
  await page.reload();
  await check(page, "own-27-out", "Nobody on the staff signs in with this account");

  await owner.page.goto(`${theirs.portalURL}account`);
  await pressEnterOn(owner.page, `Use your ${name} from now on`);
  await beAtWork(owner.page, person(theirs, "owner").name);
  await check(owner.page, "own-28-owner", `Sign in with your ${name} from now on?`);
  await pressEnterOn(owner.page, `Use my ${name}`);
  await check(owner.page, "own-29-stays", "You are the last owner with a Carillon account");
  assert.deepEqual([...faults, ...owner.faults], []);
});

test("a provider is switched off, and its people are out", async () => {
  const colleague = await open(browser);
  await colleague.page.goto(theirs.portalURL);
  await colleague.page.getByRole("link", { name: `Continue with ${name}` }).click();
  await beAtWork(colleague.page, "Nele Newhire");
  const { page, faults } = await openAsOwner("sign-in");
  await pressEnterOn(page, name);
  await pressEnterOn(page, "Switch it off");
  await check(page, "own-30-off", `Switch ${name} off?`);
  await pressEnterOn(page, "Switch it off");
  await page.getByText("The provider is off").waitFor();
  await colleague.page.reload();
  await check(colleague.page, "own-31-out", "Sign in");
  assert.equal(await colleague.page.getByRole("link", { name: `Continue with ${name}` }).count(), 0);
  assert.deepEqual([...faults, ...colleague.faults], []);
});
