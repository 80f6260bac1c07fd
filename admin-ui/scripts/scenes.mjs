// What the journeys clean up again: a code of a program, an invitation, a role, a text, an offer,
// a group and a suspended sandbox, so that the pages about them can be seen.
import { ours, theirs, today } from "../journeys/portal.mjs";

async function fill(page, fields) {
  for (const [label, text] of Object.entries(fields)) await page.getByLabel(label).last().fill(text);
}

const press = (page, name) => page.getByRole("button", { name }).click();

/** Prepares the first department, as its owner. */
export async function prepareDepartment(page) {
  await fetch(`${ours.issueBase}api/issue`, {
    method: "POST",
    headers: { "X-API-Key": ours.adminKey, "Content-Type": "application/json" },
    body: JSON.stringify({ testType: "confirmed", testDate: today().iso }),
  });

  await page.goto(`${ours.portalURL}staff/invite`);
  await fill(page, { Name: "Pat Picture", "E-mail address": "pat@picture.example" });
  await page.getByLabel("Caseworker").check();
  await press(page, "Send the invitation");

  await page.goto(`${ours.portalURL}roles/new`);
  await fill(page, { "Name of the role": "counter", "What it is for": "Reads statistics" });
  await page.getByRole("group", { name: "See statistics" }).getByText("Allow", { exact: false }).first().click();
  await press(page, "See what would change");
  await press(page, "Save the role");

  await page.goto(`${ours.portalURL}texts/edit`);
  await fill(page, { Language: "fr" });
  await page.getByLabel("Text", { exact: true }).fill("Votre lien : [enslink] Valable [longexpires] heures.");
  await press(page, "Check the text");
  await press(page, "Save the text");

  await page.goto(`${ours.portalURL}sharing/new`);
  await fill(page, { "Name of the health authority in URLs": theirs.slug });
  await press(page, "Make the offer");

  await page.goto(`${ours.portalURL}api-keys/new`);
  await fill(page, { Name: "Pictures of groups" });
  await page.locator("input[value=scim]").check({ force: true });
  await press(page, "Make the key");
  const key = (await page.locator("main").textContent()).match(/carillon_\w+/)?.[0];
  await fetch(new URL(`/t/${ours.slug}/scim/v2/Groups`, ours.portalURL), {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/scim+json" },
    body: JSON.stringify({ schemas: ["urn:ietf:params:scim:schemas:core:2.0:Group"], displayName: "Tracers" }),
  });
}

async function letterTo(page, address) {
  for (;;) {
    const letters = await (await page.request.get(new URL("/dev/mailbox.json", ours.portalURL).href)).json();
    const found = letters.find((letter) => letter.To === address);
    if (found) return found.Text.match(/https?:\S+/)[0];
    await page.waitForTimeout(100);
  }
}

/** Signs a department up by letters alone; `look` is called on each page of the way. */
export async function signUpByLetter(page, look) {
  await page.goto(new URL("/signup", ours.portalURL).href);
  await fill(page, { "Your e-mail address": "hal@hillside.example" });
  await press(page, "Send me a link");
  await look();
  await page.goto(await letterTo(page, "hal@hillside.example"));
  await look();
  await press(page, "Confirm and go on");
  await fill(page, {
    "Name of the health authority": "Hillside Department of Health",
    Region: "US-ND",
    "Official web domain": "health.hillside.example",
    "Your name": "Hal Hill",
    "E-mail address for questions": "team@health.hillside.example",
    "Telephone number for questions": "+1 206 555 0143",
    Languages: "en",
    "Verification codes a day": "50",
  });
  await press(page, "Send");
  await look();
  await fill(page, { "An address at health.hillside.example": "hal@health.hillside.example" });
  await press(page, "Send the letter");
  await page.goto(await letterTo(page, "hal@health.hillside.example"));
  await look();
  await page.locator("main form button").click();
  await look();
}

/** Suspends the sandbox of the department that signed up, as an operator. */
export async function suspendSandbox(page) {
  await page.goto(new URL("/operator?state=sandbox", ours.portalURL).href);
  await page.getByRole("link", { name: /Lakeland/ }).first().click();
  await page.getByRole("link", { name: "Suspend it" }).click();
  await fill(page, { Reason: "So that the page of a suspended one can be seen." });
  await press(page, "Suspend");
}
