package ceremony_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carillon/authz"
	"carillon/deploy/ceremony"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/key/rootkey"
	"carillon/tenant/platform"
	"carillon/tenant/tenanttest"
)

const (
	ada, bo = "a word of Ada's", "a word of Bo's"
	enrol   = ada + "\n" + ada + "\n" + bo + "\n" + bo + "\n"
	both    = ada + "\n" + bo + "\n"
)

// room is where a ceremony is held.
type room struct {
	*tenanttest.World
	t          *testing.T
	roots      *signing.Roots
	folder     string
	transcript string
	file       []byte
	out        bytes.Buffer
}

func newRoom(t *testing.T) *room {
	t.Helper()
	r := &room{World: tenanttest.New(t), t: t, folder: t.TempDir()}
	r.Create("north")
	var err error
	if r.roots, err = signing.NewRoots(r.Root.Root.(signing.NamedRoot)); err != nil {
		t.Fatal(err)
	}
	by := authz.Subject{Kind: authz.System, ID: "test"}
	if _, err := rootkey.Rewrap(t.Context(), r.Operator, r.roots, by, r.Now, nil); err != nil { // names the root
		t.Fatal(err)
	}
	r.transcript = filepath.Join(r.folder, "transcript.jsonl")
	r.file = r.plan(`
  - {do: generate-root, file: FOLDER/root.key, shares: [FOLDER/s1, FOLDER/s2, FOLDER/s3], need: 2}
  - {do: restore-root, file: FOLDER/restored.key, shares: [FOLDER/s1, FOLDER/s3]}
  - {do: make-export-key, tenant: north}
  - {do: destroy-root, file: FOLDER/restored.key}`)
	return r
}

func (r *room) plan(steps string) []byte {
	text := "title: The first root key\nparticipants: [Ada Marsh, Bo Lind]\nsteps:" + steps + "\n"
	return []byte(strings.ReplaceAll(text, "FOLDER", r.folder))
}

// conduct holds the ceremony with what both type, until they type no more.
func (r *room) conduct(typed string) error {
	r.t.Helper()
	custody := func() (signing.Custody, error) { return signing.Custody{Root: r.roots}, nil }
	return ceremony.Conduct(r.t.Context(), ceremony.Config{
		DB: r.Operator, Custody: custody, Console: ceremony.NewConsole(strings.NewReader(typed), &r.out),
		Program: "test", Binary: "none", Now: r.Now, Rounds: 1,
	}, r.file, r.transcript)
}

func (r *room) wants(err, want error, what string) {
	r.t.Helper()
	if !errors.Is(err, want) {
		r.t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func (r *room) verify() (ceremony.Verified, error) {
	return ceremony.Verify(r.t.Context(), r.Operator, r.transcript)
}

func (r *room) read(name string) string {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.folder, name))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

func (r *room) change(name string, change func(string) string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.folder, name), []byte(change(r.read(name))), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// Two people make a root key and a tenant's key; both logs confirm the transcript, and no
// secret is in it or on the screen.
func TestCeremony(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	if err := r.conduct(enrol + strings.Repeat(both, 4)); err != nil {
		t.Fatalf("%v\n%s", err, &r.out)
	}
	v, err := r.verify()
	if err != nil || !v.Ended || v.Done != 4 || v.Steps != 4 {
		t.Errorf("verified %+v, %v", v, err)
	}
	text, root := r.read("transcript.jsonl"), r.read("root.key")
	share := strings.Split(strings.Split(r.read("s2"), "value ")[1], "\n")[0]
	for what, secret := range map[string]string{
		"Ada's word": ada, "Bo's word": bo, "the key": root, "the key in hexadecimal": fmt.Sprintf("%x", root), "a share": share,
	} {
		if strings.Contains(text, secret) || strings.Contains(r.out.String(), secret) {
			t.Errorf("%s is in the transcript or on the screen", what)
		}
	}
	for _, path := range []string{"restored.key", "transcript.jsonl.state"} {
		if _, err := os.Stat(filepath.Join(r.folder, path)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
	if strings.Count(text, `"root":"file:`) != 3 || strings.Count(text, signingName(t, r.folder+"/root.key")) != 3 {
		t.Errorf("the restored key is another one: %s", text)
	}
	r.wants(r.conduct(both), ceremony.ErrOver, "conduct it again")

	north, err := tenant.NewDirectory(r.Operator).BySlug(t.Context(), "north")
	if err != nil {
		t.Fatal(err)
	}
	var entries []audit.Entry
	err = r.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) (err error) {
		entries, err = audit.Find(t.Context(), tx, audit.Filter{Action: "ceremony:step"}, 10)
		return err
	})
	if err != nil || len(entries) != 1 || entries[0].ActorName != "Ada Marsh and Bo Lind" {
		t.Errorf("the tenant's log has %+v, %v", entries, err)
	}
}

func signingName(t *testing.T, path string) string {
	t.Helper()
	root, err := signing.OpenRootFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return root.Name()
}

// No step is done without both.
func TestBothAreNeeded(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		typed string
		want  error
	}{
		"one person with both words":   {strings.Repeat(ada+"\n", 4), ceremony.ErrSamePerson},
		"one word twice at a step":     {enrol + strings.Repeat(ada+"\n", 4), ceremony.ErrAborted},
		"a wrong word":                 {enrol + strings.Repeat("nonsense\n", 3), ceremony.ErrAborted},
		"a short word":                 {"short\nshort\nshort\n", ceremony.ErrWord},
		"the second one says nothing":  {enrol + ada + "\n", ceremony.ErrPaused},
		"the second one ends it":       {enrol + ada + "\nabort\n", ceremony.ErrAborted},
		"nobody says anything anymore": {enrol, ceremony.ErrPaused},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t)
			r.wants(r.conduct(test.typed), test.want, what)
			if _, err := os.Stat(r.folder + "/root.key"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a key was made: %v", err)
			}
			if errors.Is(test.want, ceremony.ErrAborted) {
				if v, err := r.verify(); err != nil || !v.Aborted {
					t.Errorf("the logs say %+v, %v", v, err)
				}
				r.wants(r.conduct(both), ceremony.ErrOver, "go on with what was aborted")
			}
		})
	}
}

// A ceremony that stopped after each number of steps is resumed by both, or aborted; what
// was done stays done once.
func TestStoppedAnywhere(t *testing.T) {
	t.Parallel()
	for done := range 4 {
		t.Run(fmt.Sprint(done), func(t *testing.T) {
			t.Parallel()
			r := newRoom(t)
			r.wants(r.conduct(enrol+strings.Repeat(both, done)), ceremony.ErrPaused, "stop")
			if v, err := r.verify(); err != nil || v.Done != done || v.Ended || v.Aborted {
				t.Errorf("after the stop %+v, %v", v, err)
			}
			r.wants(r.conduct(both+"abort\n"), ceremony.ErrAborted, "abort")
			if v, err := r.verify(); err != nil || v.Done != done || !v.Aborted {
				t.Errorf("after the abortion %+v, %v", v, err)
			}
		})
	}
	r := newRoom(t)
	for done := range 4 {
		typed := enrol
		if done > 0 {
			typed = both + both
		}
		r.wants(r.conduct(typed), ceremony.ErrPaused, "stop")
	}
	if err := r.conduct(both + both); err != nil {
		t.Fatal(err)
	}
	if v, err := r.verify(); err != nil || !v.Ended || v.Done != 4 {
		t.Errorf("verified %+v, %v", v, err)
	}
}

// The power fails between the commit and the transcript's last line: the line is found
// again by its digest. If it fails before the commit, the step is done again.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	for what, committed := range map[string]bool{"after the commit": true, "before the commit": false} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t)
			r.wants(r.conduct(enrol), ceremony.ErrPaused, "begin")
			before := r.read("transcript.jsonl.state")
			r.wants(r.conduct(both+both), ceremony.ErrPaused, "first step")
			text := r.read("transcript.jsonl")
			lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n") // begin, resume, step
			last := lines[2] + "\n"
			if !committed {
				last = strings.Replace(last, "file:", "file:0", 1) // which the log does not know
				r.sql(`delete from platform_entry where action = 'ceremony:step'`)
			}
			r.change("transcript.jsonl", func(string) string { return lines[0] + lines[1] })
			r.change("transcript.jsonl.state", func(string) string {
				return strings.Replace(before, `"begun":0`, `"begun":1,"pending":"`+base64Of(last)+`"`, 1)
			})
			err := r.conduct(both + strings.Repeat(both, 4))
			if err != nil {
				t.Fatalf("resume: %v\n%s", err, &r.out)
			}
			if v, err := r.verify(); err != nil || !v.Ended {
				t.Errorf("verified %+v, %v", v, err)
			}
		})
	}
}

func base64Of(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func (r *room) sql(text string) {
	r.t.Helper()
	if _, err := r.Database.Super().ExecContext(r.t.Context(), text); err != nil {
		r.t.Fatal(err)
	}
}

// Whoever changes the file, the transcript or the log contradicts another of them.
func TestNothingCanBeChangedAfterwards(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.wants(r.conduct(enrol+both+both+both), ceremony.ErrPaused, "stop")
	good, file := r.read("transcript.jsonl"), r.file
	for what, change := range map[string]func(string) string{
		"a fingerprint": func(s string) string { return strings.Replace(s, `"root":"file:`, `"root":"file:0`, 1) },
		"a time":        func(s string) string { return strings.Replace(s, "15:04:05", "15:04:06", 1) },
		"a name":        func(s string) string { return strings.ReplaceAll(s, "Bo Lind", "Ben Lind") },
		"no last line":  func(s string) string { return s[:strings.LastIndex(s[:len(s)-1], "\n")+1] },
		"no line":       func(string) string { return "" },
		"twice a line":  func(s string) string { return s + s[strings.LastIndex(s[:len(s)-1], "\n")+1:] },
		"other spacing": func(s string) string { return strings.Replace(s, `,"at"`, `, "at"`, 1) },
		"one more":      func(s string) string { return strings.Replace(s, `"at"`, `"more":1,"at"`, 1) },
	} {
		r.change("transcript.jsonl", change)
		if _, err := r.verify(); !errors.Is(err, ceremony.ErrTranscript) {
			t.Errorf("%s: verified with %v", what, err)
		}
		if err := r.conduct(both + both); err == nil {
			t.Errorf("%s: the ceremony went on", what)
		}
		r.change("transcript.jsonl", func(string) string { return good })
	}
	r.file = bytes.Replace(file, []byte("north"), []byte("south"), 1)
	r.wants(r.conduct(both+both), ceremony.ErrEdited, "another file")
	r.file = file
	if err := r.conduct(both + both); err != nil {
		t.Errorf("with everything as it was: %v", err)
	}
	entries, err := platform.Ceremony(t.Context(), r.Operator, strings.Split(strings.Split(good, `"ceremony":"`)[1], `"`)[0])
	if err != nil || len(entries) != 7 { // begin, four steps, resume, end
		t.Errorf("%d entries, %v", len(entries), err)
	}
	r.sql(`set session_replication_role = replica; delete from audit_entry where action = 'ceremony:step'`)
	if _, err := r.verify(); !errors.Is(err, ceremony.ErrTranscript) {
		t.Errorf("without the tenant's entry: %v", err)
	}
}

// Files that are there already, keys in use and fingerprints that differ stop a step.
func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	if err := os.WriteFile(r.folder+"/s2", []byte("somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.wants(r.conduct(enrol+both), ceremony.ErrExists, "a share's file exists")
	r.wants(r.conduct(both+both), ceremony.ErrExists, "it still does")
	if r.read("s2") != "somebody's" {
		t.Error("a file was replaced")
	}
	if err := os.Remove(r.folder + "/s2"); err != nil {
		t.Fatal(err)
	}
	r.wants(r.conduct(both+both), ceremony.ErrPaused, "with the file away")

	other := newRoom(t)
	other.file = []byte(strings.ReplaceAll(string(other.plan("\n  - {do: destroy-root, file: ROOT}")), "ROOT", other.RootFile))
	if err := other.conduct(enrol + both); !errors.Is(err, rootkey.ErrInUse) {
		t.Errorf("destroy a key in use: %v", err)
	}
	if _, err := os.Stat(other.RootFile); err != nil {
		t.Errorf("the root key is gone: %v", err)
	}

	third := newRoom(t)
	third.file = []byte(strings.ReplaceAll(string(third.plan("\n  - {do: check-root, file: ROOT}")), "ROOT", third.RootFile))
	name := strings.TrimPrefix(signingName(t, third.RootFile), "file:")
	third.wants(third.conduct(enrol+both+name+"\n0000000000000000\n"), ceremony.ErrDiffers, "another fingerprint")
	if err := third.conduct(both + both + name + "\n" + name + "\n"); err != nil {
		t.Errorf("the right fingerprint: %v", err)
	}
}

// A rehearsal uses no files of the real ceremony and proves nothing.
func TestRehearsal(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	err := ceremony.Conduct(t.Context(), ceremony.Config{
		Console: ceremony.NewConsole(strings.NewReader(enrol+strings.Repeat(both, 4)), &r.out), Now: r.Now, Rounds: 1,
	}, r.file, r.transcript)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.verify()
	r.wants(err, ceremony.ErrRehearsal, "verify")
	if _, err := os.Stat(r.folder + "/root.key"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a rehearsal made a key: %v", err)
	}
}

// A file is read strictly.
func TestPlansThatMakeNoSense(t *testing.T) {
	t.Parallel()
	const head = "title: T\nparticipants: [A, B]\nsteps:\n"
	for _, text := range []string{
		"", "title: T", head, head + "  - {do: dance}", head + "  - {do: by-hand}", head + "  - {do: by-hand, text: x, file: /x}",
		head + "  - {do: generate-root, file: root.key}", head + "  - {do: generate-root, file: /r, shares: [/a, /b], need: 1}",
		head + "  - {do: generate-root, file: /r, shares: [/a, /b], need: 3}", head + "  - {do: generate-root, file: /r, shares: [/a, /a], need: 2}",
		head + "  - {do: generate-root, file: /r, shares: [/r, /b], need: 2}", head + "  - {do: make-export-key, tenant: '../north'}",
		head + "  - {do: check-export-key, tenant: north}", head + "  - {do: by-hand, text: x}\nmore: 1", head + "  - {do: by-hand, text: x, more: 1}",
		"title: T\nparticipants: [A]\nsteps:\n  - {do: by-hand, text: x}", "title: T\nparticipants: [A, a]\nsteps:\n  - {do: by-hand, text: x}",
		"title: T\ntitle: U\nparticipants: [A, B]\nsteps:\n  - {do: by-hand, text: x}", head + "  - {do: by-hand, text: \"x\\u202ey\"}",
		strings.Repeat("#", 70_000),
	} {
		if _, err := ceremony.ReadPlan([]byte(text)); !errors.Is(err, ceremony.ErrPlan) {
			t.Errorf("%.80q: %v", text, err)
		}
	}
	if _, err := ceremony.ReadPlan([]byte(head + "  - {do: by-hand, text: Count the seals.}")); err != nil {
		t.Error(err)
	}
}

// The example of the documents is one.
func TestTheExampleMakesSense(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../docs/examples/ceremony/first-root-key.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := ceremony.ReadPlan(file)
	if err != nil || len(plan.Steps) != 6 {
		t.Errorf("%d steps, %v", len(plan.Steps), err)
	}
}
