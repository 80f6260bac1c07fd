package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// readme names every file with its hash, and what is to be done with them.
func readme(m Material, files []file) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Configuration pack %d of %s", m.Number, m.Authority)
	line("")
	line("- Region: %s", m.Region)
	line("- Languages: %s (the first is the default)", strings.Join(m.Config.Languages, ", "))
	line("- Asked for by: %s, %s", m.AskedBy, m.AskedAt.UTC().Format(time.DateTime+" UTC"))
	line("- Export key: ID %s, version %s", m.Export[0].ID, m.Export[0].Version)
	line("- Goes live: %s (UTC)", m.Config.Values["goLiveDate"])
	if m.Last != nil {
		line("- Handed over before: pack %d; changes.csv has what is different", m.LastNumber)
	}
	line("")
	line("## Checklist")
	line("")
	for _, step := range []string{
		"Check the hashes below after every copy: `sha256sum FILE`.",
		"Check the sample: `carillon export verify " + SampleName + " --key " + KeyName + "` prints what " + ExpectedName + " has.",
		"Apple: hand over " + AppleName + ", or type in abr-form.csv; tell Apple what stands at the end of that sheet.",
		"Apple: hand over the public key, base64 on one line, with its version.",
		"Google: hand over " + GoogleName + ", the public key as PEM with its ID and version, and, if text messages are signed, their key.",
		"Have both confirm key ID and version in writing; a phone that does not know the key refuses every export.",
		"Load the override on an iPhone and go through test-protocol.md, also for Android.",
		"Note in the portal to whom the pack was handed.",
	} {
		line("- [ ] %s", step)
	}
	line("")
	line("Thresholds of exposure are in minutes for Apple and in seconds for Google. What iPhones take them for is documented")
	line("nowhere: the test protocol has a step that shows it.")
	line("")
	line("## Files")
	line("")
	line("| File | What it is | SHA-256 |")
	line("|---|---|---|")
	for _, f := range files {
		sum := sha256.Sum256(f.body)
		line("| %s | %s | `%s` |", f.name, f.meaning, hex.EncodeToString(sum[:]))
	}
	return b.Bytes()
}

// testProtocol is the list of trials on phones (section 7, step 14).
func testProtocol(m Material) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Test protocol for %s, pack %d", m.Region, m.Number)
	line("")
	line("Begin early in the day: notifications take hours. Use two iPhones and two Android phones that nobody else uses.")
	line("")
	line("| No. | What to do | What must happen | Seen by, when | Result |")
	line("|---|---|---|---|---|")
	no := 0
	row := func(do, see string) {
		no++
		line("| %d | %s | %s | | |", no, do, see)
	}
	for _, lang := range m.Config.Languages {
		row("Set a phone of each kind to "+lang+" and switch notifications on", "Names, message and consent are in "+lang+" and not cut off")
	}
	row("Enter a code on an iPhone, then on an Android phone", "Each accepts it, asks for consent and shares")
	row("Enter the same code again", "It is refused as used")
	row("Open the link of a text message on each kind", "The code is filled in")
	row("Share from an iPhone that was near an Android phone", "The Android phone is notified after the next export")
	row("Share from an Android phone that was near an iPhone", "The iPhone is notified after the next export")
	for no := 1; no <= m.Config.ClassCount(); no++ {
		row(fmt.Sprintf("Keep two phones of each kind together just longer than class %d asks for (%s), and two just shorter", no, m.Config.Values[fmt.Sprintf("classificationName_%d", no)]),
			"Only the longer is notified, on both kinds: else the unit of thresholds is another one")
	}
	row("Revoke a result that was shared", "The notification is withdrawn, with its texts")
	row("Follow each link of notifications and settings", "The authority's pages open in the phone's language")
	line("")
	line("Signed: ______________________  Date: ______________")
	return b.Bytes()
}
