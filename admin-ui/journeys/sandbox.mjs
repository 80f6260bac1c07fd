// A health authority of a journey's own: signed up, and at work in its sandbox at once.
import { pressEnterOn } from "./portal.mjs";

/**
 * Signs up, as somebody of the development provider, an authority with a domain and a region
 * that nobody else has. The page is then that of the new sandbox; its URL is returned.
 */
export async function openSandbox(page, origin, { person, name, domain, region }) {
  await page.goto(`${origin}/signup`);
  await page.getByRole("link", { name: "Continue to sign in" }).click();
  await page.getByRole("button", { name: `Sign in as ${person}` }).click();
  for (const [label, value] of Object.entries({
    "Name of the health authority": name,
    Region: region,
    "Official web domain": domain,
    "Your name": "Hilda Hill",
    "E-mail address for questions": `team@${domain}`,
    "Telephone number for questions": "+1 206 555 0143",
    Languages: "en",
    "Verification codes a day": "100",
  })) {
    await page.getByLabel(label).fill(value);
  }
  await pressEnterOn(page, "Send");
  const [record, value] = await page.locator(".facts .id").allTextContents();
  await page.request.post(`${origin}/dev/dns`, { form: { name: record, value } });
  await pressEnterOn(page, "Look for the record");
  await pressEnterOn(page, "Open your sandbox");
  return page.url().match(/^.*\/portal\/[^/]+\//)[0];
}

/** Makes an API key in the portal, and returns its text. */
export async function makeKey(page, portal, name, kind) {
  await page.goto(`${portal}api-keys/new`);
  await page.getByLabel("Name").fill(name);
  await page.getByLabel(kind, { exact: true }).check();
  await pressEnterOn(page, "Make the key");
  return page.locator("[data-secret]").innerText();
}
