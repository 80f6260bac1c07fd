package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// paper collects the lines of a text for people.
type paper struct{ bytes.Buffer }

func (p *paper) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// drafts are texts that the authority finishes: letters, what it tells people of their
// data, and the plan of the day (section 7, files 12 and 13).
func drafts(m Material) []file {
	return []file{
		{"letter-apple.md", "a draft of the letter that asks Apple for the entitlement, for your letterhead", letter(m, "Apple", appleAsks(m))},
		{"letter-google.md", "a draft of the letter that asks Google to take the region in, for your letterhead", letter(m, "Google", googleAsks(m))},
		{"privacy-draft.md", "a draft of what people are told of their data; a lawyer must read it", privacy(m)},
		{"statistics-note.md", "what is counted, for whom, and how long it is kept", statisticsNote(m)},
		{"launch-plan.md", "who does what before, on and after the day on which the region goes live", launchPlan(m)},
	}
}

func appleAsks(m Material) []string {
	return []string{
		"grant the Exposure Notification entitlement for region " + m.Region + ", " + bundleID(m),
		"register the public key below for the region",
		"set the region up from the configuration in " + AppleName,
		"give the people below access to the web form and to the profile for tests",
	}
}

func bundleID(m Material) string {
	if id := m.Config.Values["appBundleId"]; id != "" {
		return "with the app " + id
	}
	return "without an app of our own"
}

func googleAsks(m Material) []string {
	return []string{
		"take region " + m.Region + " in, with the health authority ID " + m.Config.Values["healthAuthorityID"] + ", which cannot change later",
		"register the public key below for the region",
		"set the region up from the configuration in " + GoogleName,
		"allow the accounts below to test it before it goes live",
	}
}

func letter(m Material, to string, asks []string) []byte {
	var p paper
	k := m.Export[0]
	sum := sha256.Sum256(k.DER)
	p.line("*Draft. Lines with ____ are yours to fill in.*\n")
	p.line("To %s, Exposure Notifications\n", to)
	p.line("Date: ____\n")
	p.line("%s is the public health authority that is responsible for %s. We ask you to\n", m.Authority, m.Region)
	for _, a := range asks {
		p.line("- %s;", a)
	}
	p.line("\nOur name as it is to be registered: %s\n", m.Config.AuthorityName())
	p.line("Our site: %s\n", m.Config.Values["agencyWebsiteURL"])
	p.line("We would like to go live on %s (UTC).\n", m.Config.Values["goLiveDate"])
	p.line("Our export files are signed with ECDSA on P-256 and SHA-256:\n")
	p.line("- key ID: %s\n- version: %s\n- SHA-256 of the public key: %s\n- public key: %s\n", k.ID, k.Version, hex.EncodeToString(sum[:]), OneLine(k.DER))
	p.line("Please confirm key ID, version and fingerprint in writing; we will also read the fingerprint to you by telephone.\n")
	p.line("Contacts for the work: ____ (name, telephone, e-mail), ____\n")
	p.line("Contacts in an emergency, at most ten e-mail addresses: ____\n")
	p.line("Signed for %s: ____ (name, office)", m.Authority)
	return p.Bytes()
}

func privacy(m Material) []byte {
	var p paper
	p.line("# What happens to your data: a draft for %s\n", m.Authority)
	p.line("*It says what the service does. What the law of your region asks for beyond that is for your lawyer to add.*\n")
	for _, text := range []string{
		"Taking part is voluntary. You can switch notifications off, and delete the random codes of your phone, at any time.",
		"Phones nearby exchange random codes that change every few minutes. Your phone keeps them; we never learn who was near whom, or where.",
		"If you test positive you may get a verification code. We keep a keyed digest of it for at most 48 hours after it has expired, and whether it was used for 14 days: never the code itself.",
		"If we send the code by text message, your telephone number is kept sealed until the message was sent or the code has expired, and then deleted. Our message provider sees number and text.",
		"If you share your result, your phone uploads its random codes of up to 14 days. We keep and publish them for 14 days. They have no name, number or address.",
		"The address from which your phone calls us is not stored with any of this.",
		"Phones send calls at random that mean nothing, so that nobody who watches the network learns who has shared a result.",
		"We count how many codes were issued and used, and how many keys were shared. The counts say nothing of single people.",
	} {
		p.line("- %s", text)
	}
	if m.Config.Values["testVerificationUserReportURL"] != "" {
		p.line("- If you report a test of your own, we keep a keyed digest of your telephone number for 30 to 90 days, so that a number reports once in that time.")
	}
	p.line("\nResponsible: %s. Questions: ____. Supervisory authority: ____.", m.Authority)
	return p.Bytes()
}

func statisticsNote(m Material) []byte {
	var p paper
	p.line("# What is counted for %s\n", m.Authority)
	p.line("- Counts for each UTC day: codes issued, used and expired, by type; tokens; certificates; uploads and keys, by kind of phone; errors of text messages.")
	p.line("- No count names a person. Counts by member of staff and by API key are seen by the authority alone.")
	p.line("- Figures of uploads for a day are given to others once it has ten uploads, or 48 hours after it has ended.")
	p.line("- Counts are kept for 91 days, unless those who run the service have set another time of 30 to 180 days.")
	p.line("- They come with the API key of kind *stats*, or with a token signed by the authority's certificate key. Whoever has one of them can read all counts.")
	return p.Bytes()
}

func launchPlan(m Material) []byte {
	var p paper
	p.line("# Launch plan for %s, region %s\n", m.Authority, m.Region)
	p.line("Goes live on %s (UTC). Languages: %s.\n", m.Config.Values["goLiveDate"], strings.Join(m.Config.Languages, ", "))
	for _, part := range []struct {
		title string
		steps []string
	}{
		{"Four weeks before", []string{
			"Letters to Apple and Google are sent, and this pack is handed over and noted in the portal.",
			"Two people at least are administrators, two may approve a key's use, and each has signed in.",
			"The expected number of codes on the first day is estimated: ____. The quota is above it.",
		}},
		{"Two weeks before", []string{
			"Apple and Google have confirmed key ID and version in writing.",
			"A text message has arrived from each large carrier, from the number that people will see.",
			"The test protocol is signed, on phones of each kind.",
			"Caseworkers have issued and looked up codes in the sandbox.",
		}},
		{"The day before", []string{
			"The self-test is green, and was for a day.",
			"Nobody changes texts, keys or settings any more.",
			"Texts for the press and for the telephone line name the site " + m.Config.Values["agencyWebsiteURL"] + ".",
			"Who decides to stop, and by which telephone: ____.",
		}},
		{"The day", []string{
			"Begin in the morning of a day on which people are at work until the evening.",
			"Go live at Apple and Google; note the times: ____, ____.",
			"A phone that was set up today gets texts in each language, and accepts a code.",
			"Every hour: codes issued and used, errors of text messages, uploads, self-test. By: ____.",
			"Ask Apple and Google to announce it, if that was agreed.",
		}},
		{"The week after", []string{
			"Each morning: the share of codes that are used, by type; what callers ask; errors by carrier.",
			"If few codes are used, look at the text message first, then at the texts of consent.",
			"After a week: what is changed, and which pack brings it.",
		}},
	} {
		p.line("## %s\n", part.title)
		for _, step := range part.steps {
			p.line("- [ ] %s", step)
		}
		p.line("")
	}
	return append(bytes.TrimRight(p.Bytes(), "\n"), '\n')
}
