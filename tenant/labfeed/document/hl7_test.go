package document_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"carillon/tenant/labfeed/document"
)

const (
	msh = `MSH|^~\&|SYS|LAB^2.999.5^ISO|C|H|20261125101500-0500||ORU^R01^ORU_R01|17|P|2.5.1` + "\r"
	pid = "PID|1||P-3008||Winterbourne^Ada||||||||^PRN^PH^^1^206^5550161~^PRN^CP^^1^206^5550142\r"
	obr = "OBR|1|PL-1|ACC-2026^Lab^2.999.1^ISO|94500-6^x^LN|||202611240830-0800\r"
	obx = "OBX|1|CWE|94500-6^x^LN||260373001^Detected^SCT||||||F\r"
)

// one is the only result of a message.
func one(t *testing.T, body string) document.Result {
	t.Helper()
	d := read(t, document.HL7, body)
	if len(d.Results) != 1 {
		t.Fatalf("%d results, want 1", len(d.Results))
	}
	return d.Results[0]
}

func TestSegmentSeparators(t *testing.T) {
	t.Parallel()
	good := msh + pid + obr + obx
	for name, body := range map[string]string{
		"line feeds": strings.ReplaceAll(good, "\r", "\n"), "both": strings.ReplaceAll(good, "\r", "\r\n"),
		"empty lines": strings.ReplaceAll(good, "\r", "\r\r"), "no end": strings.TrimSuffix(good, "\r"),
	} {
		if r := one(t, body); r.Accession != "ACC-2026" {
			t.Errorf("%s: %q", name, r.Accession)
		}
	}
	for name, body := range map[string]string{
		"framing": "\x0b" + good + "\x1c\r", "vertical tabs": strings.ReplaceAll(good, "\r", "\x0b"), "a NUL": good + "\x00",
		"record separators": strings.ReplaceAll(good, "\r", "\x1e"),
	} {
		wantRefused(t, name, document.HL7, body, document.ErrEncoding)
	}
	wantRefused(t, "blanks", document.HL7, strings.ReplaceAll(good, "\r", " "), document.ErrUnsupported)
	wantRefused(t, "C1 separators", document.HL7, strings.ReplaceAll(good, "\r", "\u0085"), document.ErrUnsupported)
}

// A message says itself which characters divide it.
func TestEncodingCharacters(t *testing.T) {
	t.Parallel()
	other := strings.NewReplacer("|", "#", "^", "*", "~", "!", `\`, "@", "&", "+").Replace(msh + pid + obr + obx)
	if r := one(t, other); r.Phone != "+12065550142" || r.Assigner != "2.999.1" || len(r.Values) != 1 {
		t.Errorf("phone %q, assigner %q, %d values", r.Phone, r.Assigner, len(r.Values))
	}
	truncating := strings.Replace(msh, `^~\&`, `^~\&#`, 1) + pid + obr + obx
	if r := one(t, truncating); r.Accession != "ACC-2026" {
		t.Errorf("with five: %q", r.Accession)
	}
	for name, set := range map[string]string{
		"three": `^~\`, "twice": `^~\^`, "the separator": `^~\|`, "letters": `^~\A`, "digits": `^~\1`, "blank": `^~\ `, "six": `^~\&#%`, "none": ``, "not ASCII": `^~\é`,
	} {
		wantRefused(t, name, document.HL7, strings.Replace(msh, `^~\&`, set, 1)+pid+obr+obx, document.ErrMalformed)
	}
	wantRefused(t, "mixed", document.HL7, msh+strings.ReplaceAll(pid, "|", "#"), document.ErrMalformed)
}

func TestMessageHeaders(t *testing.T) {
	t.Parallel()
	rest := pid + obr + obx
	for name, c := range map[string]struct {
		old, new string
		kind     error
	}{
		"another message": {"ORU^R01^ORU_R01", "ADT^A01^ADT_A01", document.ErrUnsupported},
		"another event":   {"ORU^R01^ORU_R01", "ORU^R30", document.ErrUnsupported},
		"no type":         {"ORU^R01^ORU_R01", "", document.ErrUnsupported},
		"training":        {"|P|", "|T|", document.ErrUnsupported},
		"debugging":       {"|P|", "|D|", document.ErrUnsupported},
		"no processing":   {"|P|", "||", document.ErrUnsupported},
		"version 2.1":     {"2.5.1", "2.1", document.ErrUnsupported},
		"version 3":       {"2.5.1", "3", document.ErrUnsupported},
		"no version":      {"|2.5.1", "", document.ErrUnsupported},
		"no control ID":   {"|17|", "||", document.ErrMalformed},
		"another charset": {"2.5.1", "2.5.1||||||8859/1", document.ErrUnsupported},
		"long":            {"SYS", strings.Repeat("S", 300), document.ErrMalformed},
		"no field at all": {msh[3:], "\r", document.ErrMalformed},
		"the name alone":  {msh[3:], `|^~\&` + "\r", document.ErrUnsupported},
	} {
		wantRefused(t, name, document.HL7, strings.Replace(msh, c.old, c.new, 1)+rest, c.kind)
	}
	for _, good := range []string{"2.3.1", "2.5", "2.5.1^USA", "2.5.1||||||UNICODE UTF-8", "2.7"} {
		one(t, strings.Replace(msh, "2.5.1", good, 1)+rest)
	}
	for name, body := range map[string]string{
		"no MSH": rest, "MSH late": pid + msh + obr + obx, "short": msh + "OB", "no name": msh + "obx|1\r", "OBX first": msh + obx,
		"OBX before OBR": msh + pid + obx, "letters": "hello", "only blanks": " \r \r",
	} {
		wantRefused(t, name, document.HL7, body, document.ErrMalformed)
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	const fhs, bhs, bts, fts = `FHS|^~\&|L` + "\r", `BHS|^~\&|L` + "\r", "BTS|2\r", "FTS|1\r"
	m := msh + pid + obr + obx
	for name, body := range map[string]string{
		"batch": bhs + m + m + bts, "file": fhs + bhs + m + m + bts + fts, "no counts": fhs + bhs + m + m + "BTS|\rFTS|\r",
		"without": m + m, "other characters": "BHS#*!@+#L\r" + m + m + "BTS#2\r",
	} {
		d := read(t, document.HL7, body)
		if len(d.Results) != 2 || len(d.Messages) != 2 || d.Results[0].Report == d.Results[1].Report {
			t.Errorf("%s: %d results of %d messages", name, len(d.Results), len(d.Messages))
		}
	}
	for name, body := range map[string]string{
		"no trailer": bhs + m + m, "no header": m + m + bts, "wrong count": bhs + m + bts, "empty": bhs + "BTS|0\r", "twice": bhs + bhs + m + m + bts,
		"no file trailer": fhs + bhs + m + m + bts, "crossed": fhs + bhs + m + m + fts + bts, "more after it": bhs + m + m + bts + m,
		"another batch": bhs + m + m + bts + bhs + m + m + bts, "header late": m + bhs + m + m + bts, "no characters": "BHS\r" + m,
		"segment between": bhs + pid + m + m + bts, "after the trailer": bhs + m + m + bts + pid,
	} {
		wantRefused(t, name, document.HL7, body, document.ErrMalformed)
	}
	two := read(t, document.HL7, fhs+bhs+m+m+bts+bhs+m+m+bts+"FTS|2\r")
	if len(two.Results) != 4 {
		t.Errorf("two batches: %d results", len(two.Results))
	}
}

func TestPhones(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"^PRN^CP^^1^206^5550142":                            "+12065550142",
		"^PRN^PH^^^206^5550161":                             "2065550161",
		"(206)555-0161":                                     "(206)555-0161",
		"^PRN^PH^^1^206^5550161~^ORN^CP^^1^206^5550142":     "+12065550142",
		"^PRN^PH^^1^206^5550161~^WPN^PH^^1^206^5550100":     "+12065550161",
		"^NET^Internet^ada@example.org":                     "",
		"^PRN^FX^^1^206^5550161":                            "",
		"^NET^Internet^a@example.org~^PRN^PH^^^206^5550161": "2065550161",
		"^^CP^^^^^^^^^+1 206 555 0142":                      "+1 206 555 0142",
		"":                                                  "", "^^^": "", `\X2B\1206\T\5550142`: "+1206&5550142",
	} {
		if got := one(t, msh+"PID|1||||||||||||"+in+"\r"+obr+obx).Phone; got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	if got := one(t, msh+"PID|1|||||||||||||^WPN^PH^^1^206^5550199\r"+obr+obx).Phone; got != "+12065550199" {
		t.Errorf("business phone: %q", got)
	}
}

// Where the accession stands, and within whose numbers.
func TestAccessions(t *testing.T) {
	t.Parallel()
	for body, want := range map[string][2]string{
		msh + pid + obr + obx:               {"ACC-2026", "2.999.1"},
		msh + pid + "OBR|1||A1^Lab\r" + obx: {"A1", "Lab"},
		msh + pid + "OBR|1||A1\r" + obx:     {"A1", "2.999.5"},
		strings.Replace(msh, "LAB^2.999.5^ISO", "LAB", 1) + pid + "OBR|1||A1\r" + obx: {"A1", "LAB"},
		msh + pid + "OBR|1\r" + obx + "SPM|1|P1&x&y&ISO^S1&Lab&2.999.1&ISO\r":         {"S1", "2.999.1"},
		msh + pid + "OBR|1\r" + obx:                                   {"", "2.999.5"},
		msh + pid + `OBR|1||A\T\1\E\^L` + "\r" + obx:                  {`A&1\`, "L"},
		msh + pid + "OBR|1||" + strings.Repeat("A", 300) + "\r" + obx: {"", "2.999.5"},
	} {
		if r := one(t, body); r.Accession != want[0] || r.Assigner != want[1] {
			t.Errorf("%q of %q, want %q of %q", r.Accession, r.Assigner, want[0], want[1])
		}
	}
}

func TestHL7Dates(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]document.Date{
		"20261124":                 {Day: "2026-11-24"},
		"202611240830":             {Day: "2026-11-24"},
		"20261124083015.1234+0530": {Day: "2026-11-24", Offset: 330, HasOffset: true},
		"20261124083015-0800^S":    {Day: "2026-11-24", Offset: -480, HasOffset: true},
		"202611":                   {Unreadable: true},
		"2026":                     {Unreadable: true},
		"20261324":                 {Unreadable: true},
		"20260230":                 {Unreadable: true},
		"2026-11-24":               {Unreadable: true},
		"20261124T0830":            {Unreadable: true},
		"":                         {},
		`""`:                       {},
	} {
		if got := one(t, msh+pid+"OBR|1||A1|x|||"+in+"\r"+obx).Collected; got != want {
			t.Errorf("%q: %+v, want %+v", in, got, want)
		}
	}
	specimen := one(t, msh+pid+obr+obx+"SPM|1|||x|||||||||||||20261123\r")
	if specimen.Collected.Day != "2026-11-23" {
		t.Errorf("the specimen's own day: %+v", specimen.Collected)
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]document.Status{
		"F": document.Final, "C": document.Final, "U": document.Final, "P": document.Unfinished, "X": document.Unfinished,
		"I": document.Unfinished, "W": document.Withdrawn, "D": document.Withdrawn, "?": document.Unfinished, "": document.Unfinished,
	} {
		if got := one(t, msh+pid+obr+strings.Replace(obx, "|F\r", "|"+in+"\r", 1)).Status; got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
	whole := "OBR|1||A1" + strings.Repeat("|", 22) + "F\r"
	if got := one(t, msh+pid+whole+strings.Replace(obx, "|F\r", "\r", 1)).Status; got != document.Final {
		t.Errorf("final as a whole: %d", got)
	}
}

// Several patients, orders and observations: everybody has what is hers.
func TestWhoseIsWhat(t *testing.T) {
	t.Parallel()
	onset := "OBX|2|TS|65222-2^onset^LN||20261120\r"
	second := strings.NewReplacer("5550142", "5550199", "P-3008", "P-3009").Replace(pid)
	body := msh + pid + obr + obx + "OBX|3|CWE|1-1^flu^LN||x\r" + strings.Replace(obr, "ACC-2026", "ACC-2027", 1) + onset + obx +
		"NTE|1||Winterbourne\r" + second + strings.Replace(obr, "ACC-2026", "ACC-2028", 1) + obx
	d := read(t, document.HL7, body)
	if len(d.Results) != 3 || d.Ignored != 1 {
		t.Fatalf("%d results, %d ignored", len(d.Results), d.Ignored)
	}
	for i, want := range []struct{ accession, phone, onset string }{
		{"ACC-2026", "+12065550142", "2026-11-20"}, {"ACC-2027", "+12065550142", "2026-11-20"}, {"ACC-2028", "+12065550199", ""},
	} {
		if r := d.Results[i]; r.Accession != want.accession || r.Phone != want.phone || r.Onset.Day != want.onset {
			t.Errorf("result %d: %s %s %s", i, r.Accession, r.Phone, r.Onset.Day)
		}
	}
}

// Codes by value type, alternates and flags.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"OBX|1|CE|94500-6^x^LN||260373001^d^SCT^POS^p^L|||A~POS|||F": "http://snomed.info/sct|260373001 L|POS " + document.Interpretation + "|A " + document.Interpretation + "|POS",
		"OBX|1|ST|94500-6^x^LN||Not  Detected||||||F":                "text|not detected",
		"OBX|1|NM|94500-6^x^LN||23.4|||POS|||F":                      document.Interpretation + "|POS",
		"OBX|1|CWE|PCR^x^L^94500-6^y^LN||^free words only||||||F":    "",
		"OBX|1|ED|94500-6^x^LN||^application^pdf^Base64^AAAA||||||F": "",
	} {
		var got []string
		for _, c := range one(t, msh+pid+obr+line+"\r").Values {
			got = append(got, c.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// A line of separators, or a deep pile of segments, costs nothing much.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	wide := "OBX|1|CWE|94500-6^x^LN||" + strings.Repeat("|^~&", 1_000_000) + "\r"
	read(t, document.HL7, msh+pid+obr+wide)
	wantRefused(t, "too many segments", document.HL7, msh+strings.Repeat("NTE|\r", 300_000), document.ErrTooMany)
	wantRefused(t, "too many messages", document.HL7, strings.Repeat(msh, 6000), document.ErrTooMany)
}

func TestAcknowledgements(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 15, 4, 5, 0, time.UTC)
	_, err := document.Read(document.HL7, []byte(strings.Replace(msh, "ORU^R01", "A|B", 1)), fields())
	got := document.Ack{Code: document.Rejected, Refusal: err, ID: "id", At: at}.Text(nil)
	want := "MSH|^~\\&|||||20261125150405+0000||ACK^R01^ACK|id-1|P|2.5.1\rMSA|AR|\r" +
		"ERR|||200^Unsupported message type^HL70357|E||||segment 1: MSH-9 is not ORU\\S\\R01\r"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	secret := document.Ack{Code: document.Failed, Refusal: errors.New("Winterbourne"), ID: "id", At: at}.Text(nil)
	if strings.Contains(secret, "Winterbourne") || !strings.Contains(secret, "MSA|AE|") {
		t.Errorf("an error of ours is repeated: %q", secret)
	}
	d := read(t, document.HL7, msh+pid+obr+obx)
	if got := (document.Ack{Code: document.Accepted, ID: "id", At: at}).Text(d.Messages); got !=
		"MSH|^~\\&|C|H|SYS|LAB^2.999.5^ISO|20261125150405+0000||ACK^R01^ACK|id-1|P|2.5.1\rMSA|AA|17\r" {
		t.Errorf("%q", got)
	}
}
