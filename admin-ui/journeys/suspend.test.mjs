// An operator suspends a health authority and resumes it: meanwhile phones and programs are
// told of maintenance, and staff read why.
import assert from "node:assert/strict";
import { test } from "node:test";
import { check, launch, open, ours, pressEnterOn, tabTo, today } from "./portal.mjs";
import { makeKey, openSandbox } from "./sandbox.mjs";

const origin = new URL(ours.portalURL).origin;
const name = "Hillside Department of Health";

/** What phones and programs of the authority get. */
function devices(page, base, keys) {
  const send = (path, key, data) => page.request.post(base + path, { headers: key ? { "X-API-Key": key } : {}, data });
  return {
    issue: () => send("api/issue", keys.admin, { testType: "confirmed", symptomDate: today().iso }),
    verify: (code) => send("api/verify", keys.device, { code, accept: ["confirmed"] }),
    certificate: (token) => send("api/certificate", keys.device, { token, ekeyhmac: Buffer.alloc(32, 7).toString("base64") }),
    publish: () => send("v1/publish", "", { temporaryExposureKeys: [], healthAuthorityID: "x", verificationPayload: "x", hmacKey: "x" }),
  };
}

async function refusedForMaintenance(answer) {
  assert.equal(answer.status(), 429);
  assert.equal((await answer.json()).errorCode, "maintenance_mode");
}

test("an operator suspends a health authority, and resumes it", async () => {
  const browser = await launch();
  try {
    const staff = await open(browser);
    const portal = await openSandbox(staff.page, origin, { person: "Applicant of Hillside", name, domain: "health.hillside.example", region: "US-VT" });
    const slug = portal.match(/portal\/([^/]+)/)[1];
    const keys = {
      admin: await makeKey(staff.page, portal, "Laboratory", "Issuing codes"),
      device: await makeKey(staff.page, portal, "App", "Phones"),
    };
    const phones = devices(staff.page, `${origin}/t/${slug}/`, keys);
    const first = await (await phones.issue()).json();
    const second = await (await phones.issue()).json();
    const verified = await phones.verify(first.code);
    assert.equal(verified.status(), 200, await verified.text());
    const { token } = await verified.json();

    const operator = await open(browser);
    const { page } = operator;
    await page.goto(`${origin}/operator`);
    await page.getByRole("link", { name: "Continue to sign in" }).click();
    await page.getByRole("button", { name: "Sign in as Operator of the platform" }).click();
    await check(page, "suspend-1-list", "Health authorities");
    await tabTo(page, "Search");
    await page.keyboard.type("hillside");
    await pressEnterOn(page, "Search");
    await pressEnterOn(page, name);
    await check(page, "suspend-2-authority", name);
    await pressEnterOn(page, "Suspend it");
    await check(page, "suspend-3-question", `Suspend ${name}?`);
    await pressEnterOn(page, "Suspend");
    await check(page, "suspend-4-problem", `Suspend ${name}?`);
    await tabTo(page, "Reason");
    await page.keyboard.type("The contract has ended.");
    await pressEnterOn(page, "Suspend");
    await page.getByText("The health authority is suspended").waitFor();
    await check(page, "suspend-5-suspended", name);

    await refusedForMaintenance(await phones.issue());
    await refusedForMaintenance(await phones.verify(second.code));
    const upload = await phones.publish();
    assert.equal(upload.status(), 429);
    assert.equal((await upload.json()).code, undefined, "an upload is answered by an error alone");
    const certificate = await phones.certificate(token);
    assert.equal(certificate.status(), 200, "who verified a code before can go on");

    await staff.page.goto(`${portal}codes/new`);
    await check(staff.page, "suspend-6-closed", "This health authority is suspended");
    await staff.page.getByText("The contract has ended.").waitFor();
    await pressEnterOn(staff.page, "Read the audit log");
    await check(staff.page, "suspend-7-audit", "Audit log");

    await pressEnterOn(page, "Resume it");
    await check(page, "suspend-8-resume", `Resume ${name}?`);
    await tabTo(page, "Reason");
    await page.keyboard.type("A new contract was signed.");
    await pressEnterOn(page, "Resume");
    await page.getByText("The health authority is active again").waitFor();
    await check(page, "suspend-9-resumed", name);
    const again = await phones.verify(second.code);
    assert.equal(again.status(), 200, "a code that was not used is still good");
    assert.equal((await phones.issue()).status(), 200);
    assert.equal((await phones.publish()).status(), 400, "an upload is judged by what is in it again");
    await staff.page.goto(`${portal}codes/new`);
    await check(staff.page, "suspend-10-open", "Issue a verification code");

    await page.goto(`${origin}/operator/log`);
    await check(page, "suspend-11-log", "Platform log");
    assert.equal(await page.locator("tr, article, li", { hasText: "A new contract was signed." }).count() > 0, true, "the log has the reason");
    assert.deepEqual([...staff.faults, ...operator.faults], []);
  } finally {
    await browser.close();
  }
});
