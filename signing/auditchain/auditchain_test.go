package auditchain_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/signing/auditchain"
)

var (
	tenant = uuid.MustParse("6f1c3e52-2f4c-4f0e-9d53-0a4b8f9f3a11")
	start  = time.Date(2026, 11, 25, 15, 4, 5, 0, time.UTC)
)

// log is a log in memory: what an honest service would have written.
type log struct {
	t       *testing.T
	key     *ecdsa.PrivateKey
	entries []auditchain.Entry
	digests []auditchain.Digest
	// sealed are checkpoints by the number of entries they count.
	sealed map[int]string
}

func newLog(t *testing.T, entries int, checkpoints ...int) *log {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l := &log{t: t, key: key, sealed: map[int]string{}}
	for n := range entries {
		l.entries = append(l.entries, auditchain.Entry{
			No: int64(n + 1), At: start.Add(time.Duration(n) * time.Minute),
			ActorKind: "person", ActorID: "77aa", ActorName: "Robin Doe", Action: "member:write",
			Target: fmt.Sprint("target ", n+1), Detail: `{"quo\"te": "é"}`, Request: "r1", Because: "role owner allows it",
		})
	}
	l.chain()
	for _, n := range checkpoints {
		l.sealed[n] = l.seal(n)
	}
	return l
}

// chain computes all digests, as somebody can who has the whole database.
func (l *log) chain() {
	l.digests = nil
	var last auditchain.Digest
	for _, e := range l.entries {
		last = e.Digest(tenant, last)
		l.digests = append(l.digests, last)
	}
}

func (l *log) seal(n int) string {
	l.t.Helper()
	c := auditchain.Checkpoint{Tenant: tenant, At: start.Add(time.Hour), Entries: int64(n), Digest: l.digests[n-1]}
	statement, err := c.Sign(l.key, "north-a1")
	if err != nil {
		l.t.Fatal(err)
	}
	return statement
}

func (l *log) keys() auditchain.Keys { return auditchain.Keys{"north-a1": &l.key.PublicKey} }

func (l *log) file() string {
	l.t.Helper()
	var file bytes.Buffer
	w, err := auditchain.NewWriter(&file, auditchain.Header{Tenant: tenant, Slug: "north", At: start, Keys: l.keys()})
	if err != nil {
		l.t.Fatal(err)
	}
	for i, e := range l.entries {
		if err := w.Entry(e, l.digests[i][:]); err != nil {
			l.t.Fatal(err)
		}
		if s := l.sealed[i+1]; s != "" {
			if err := w.Checkpoint(s); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	return file.String()
}

func verify(t *testing.T, file string, trust auditchain.Trust) *auditchain.Report {
	t.Helper()
	r, err := auditchain.Verify(strings.NewReader(file), trust)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWholeLog(t *testing.T) {
	t.Parallel()
	l := newLog(t, 7, 2, 5)
	r := verify(t, l.file(), auditchain.Trust{Keys: l.keys(), Kept: []string{l.sealed[2]}})
	if !r.Whole() {
		t.Errorf("findings: %v", r.Findings)
	}
	if r.Entries != 7 || r.Sealed != 5 || !r.SealedAt.Equal(start.Add(time.Hour)) || r.Checkpoints != 3 || r.Believed {
		t.Errorf("report %+v", r)
	}
	if !r.First.Equal(start) || !r.Last.Equal(start.Add(6*time.Minute)) || r.Header.Slug != "north" || r.Header.Tenant != tenant {
		t.Errorf("report %+v", r)
	}
}

// What the database computes: see the test of package audit, which compares the two.
func TestDigestIsPinned(t *testing.T) {
	t.Parallel()
	e := auditchain.Entry{
		No: 1, At: start, ActorKind: "system", ActorID: "onboarding", ActorName: "Carillon",
		Action: "tenant:create", Target: "north", Detail: "{}",
	}
	d := e.Digest(tenant, auditchain.Digest{})
	const want = "a03536271ddfe832c16123990f27b5a62738a0fe459faed76a4e32c38b785595"
	if got := hex.EncodeToString(d[:]); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}

// Each kind of tampering shows, also when whoever did it chained the rest anew.
func TestTamperingShows(t *testing.T) {
	t.Parallel()
	rewrite := func(l *log) { l.chain() }
	tampers := map[string]func(l *log){
		"time changed":  func(l *log) { l.entries[2].At = l.entries[2].At.Add(time.Microsecond) },
		"actor kind":    func(l *log) { l.entries[2].ActorKind = "system" },
		"actor ID":      func(l *log) { l.entries[2].ActorID = "78aa" },
		"actor name":    func(l *log) { l.entries[2].ActorName = "Rowan Doe" },
		"action":        func(l *log) { l.entries[2].Action = "member:read" },
		"target":        func(l *log) { l.entries[2].Target = "nobody" },
		"detail":        func(l *log) { l.entries[2].Detail = "{}" },
		"request":       func(l *log) { l.entries[2].Request = "r2" },
		"because":       func(l *log) { l.entries[2].Because = "" },
		"moved text":    func(l *log) { l.entries[2].Request, l.entries[2].Because = "r1r", "ole owner allows it" },
		"dropped":       func(l *log) { l.entries = slices.Delete(l.entries, 2, 3); l.digests = slices.Delete(l.digests, 2, 3) },
		"first dropped": func(l *log) { l.entries = l.entries[1:]; l.digests = l.digests[1:] },
		"swapped":       func(l *log) { l.entries[2], l.entries[3] = l.entries[3], l.entries[2] },
		"swapped with links": func(l *log) {
			l.entries[2], l.entries[3] = l.entries[3], l.entries[2]
			l.digests[2], l.digests[3] = l.digests[3], l.digests[2]
		},
		"dropped and numbered anew": func(l *log) {
			l.entries = slices.Delete(l.entries, 2, 3)
			for i := range l.entries {
				l.entries[i].No = int64(i + 1)
			}
			rewrite(l)
		},
		"changed and chained anew": func(l *log) { l.entries[2].Target = "nobody"; rewrite(l) },
		"inserted": func(l *log) {
			l.entries = slices.Insert(l.entries, 2, l.entries[2])
			for i := range l.entries {
				l.entries[i].No = int64(i + 1)
			}
			rewrite(l)
		},
		"end cut off": func(l *log) { l.entries, l.digests = l.entries[:4], l.digests[:4] },
		"checkpoint by another key": func(l *log) {
			own := l.key
			other := newLog(t, 7)
			l.key = other.key
			l.sealed[6] = l.seal(6)
			l.key = own
		},
		"checkpoint of another log": func(l *log) {
			c := auditchain.Checkpoint{Tenant: uuid.New(), At: start, Entries: 6, Digest: l.digests[5]}
			l.sealed[6], _ = c.Sign(l.key, "north-a1")
		},
		"checkpoint of other entries": func(l *log) { l.sealed[6] = l.sealed[5] },
	}
	for name, tamper := range tampers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t, 7, 5)
			kept := l.sealed[5]
			keys := l.keys()
			tamper(l)
			r := verify(t, l.file(), auditchain.Trust{Keys: keys, Kept: []string{kept}})
			if r.Whole() {
				t.Error("nothing was found")
			}
		})
	}
}

// A change shows where it was made, and once.
func TestFindingSaysWhere(t *testing.T) {
	t.Parallel()
	l := newLog(t, 7)
	l.entries[2].Target = "nobody"
	r := verify(t, l.file(), auditchain.Trust{Keys: l.keys()})
	if len(r.Findings) != 1 || r.Findings[0].Entry != 3 {
		t.Errorf("findings %v, want one at entry 3", r.Findings)
	}
}

// Whoever keeps the checkpoints of all tenants in one place can give them all.
func TestCheckpointsOfOthersDoNotMatter(t *testing.T) {
	t.Parallel()
	l := newLog(t, 3, 3)
	c := auditchain.Checkpoint{Tenant: uuid.New(), At: start, Entries: 9}
	theirs, err := c.Sign(newLog(t, 1).key, "south-a1")
	if err != nil {
		t.Fatal(err)
	}
	r := verify(t, l.file(), auditchain.Trust{Keys: l.keys(), Kept: []string{theirs, l.sealed[3]}})
	if !r.Whole() || r.Checkpoints != 2 {
		t.Errorf("report %+v", r)
	}
	if r := verify(t, l.file(), auditchain.Trust{Keys: l.keys(), Kept: []string{"eyJ.a.b"}}); r.Whole() {
		t.Error("a kept text that is no checkpoint was passed over in silence")
	}
}

// What was written after the last checkpoint can be forged by whoever can write to the
// database, and the report says from where on.
func TestUnsealedEndIsNamed(t *testing.T) {
	t.Parallel()
	l := newLog(t, 7, 5)
	l.entries[6].Target = "nobody"
	l.chain()
	r := verify(t, l.file(), auditchain.Trust{Keys: l.keys()})
	if !r.Whole() || r.Sealed != 5 || r.Entries != 7 {
		t.Errorf("report %+v", r)
	}
}

// Without keys from elsewhere the file's own are believed, and the report says so.
func TestBelievedKeys(t *testing.T) {
	t.Parallel()
	forged := newLog(t, 3, 3)
	if r := verify(t, forged.file(), auditchain.Trust{}); !r.Whole() || !r.Believed || r.Checkpoints != 1 {
		t.Errorf("report %+v", r)
	}
	honest := newLog(t, 3, 3)
	if r := verify(t, forged.file(), auditchain.Trust{Keys: honest.keys()}); r.Whole() {
		t.Error("checkpoints by a key that is not the log's passed")
	}
}

// Without any keys the links are checked all the same, and the report says that nothing
// else was.
func TestNoKeysAtAll(t *testing.T) {
	t.Parallel()
	l := newLog(t, 4, 3)
	keyless := regexp.MustCompile(`"keys":\{[^}]*\}`).ReplaceAllString(l.file(), `"keys":{}`)
	if r := verify(t, keyless, auditchain.Trust{}); !r.Whole() || !r.Keyless || r.Believed || r.Sealed != 0 || r.Entries != 4 {
		t.Errorf("report %+v", r)
	}
	if r := verify(t, keyless, auditchain.Trust{Keys: l.keys()}); !r.Whole() || r.Keyless || r.Sealed != 3 {
		t.Errorf("report %+v", r)
	}
	if r := verify(t, strings.Replace(keyless, "target 2", "target 9", 1), auditchain.Trust{}); r.Whole() {
		t.Error("a changed entry passes")
	}
}

// A token that the log's key signed for something else is no checkpoint.
func TestOtherStatements(t *testing.T) {
	t.Parallel()
	l := newLog(t, 3, 3)
	c := auditchain.Checkpoint{Tenant: tenant, At: start, Entries: 0}
	none, err := c.Sign(l.key, "north-a1")
	if err != nil {
		t.Fatal(err)
	}
	for name, statement := range map[string]string{"empty": "", "text": "a.b.c", "of nothing": none, "cut": l.sealed[3][:len(l.sealed[3])-4]} {
		if _, err := l.keys().OpenCheckpoint(statement); !errors.Is(err, auditchain.ErrCheckpoint) {
			t.Errorf("%s: %v, want ErrCheckpoint", name, err)
		}
	}
}

func TestNoLogAtAll(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"empty":       "",
		"other":       `{"format":"something else"}`,
		"no JSON":     "entry,at\n",
		"bad key":     `{"format":"carillon audit log 1","keys":{"a":"AAAA"}}`,
		"broken line": newLog(t, 1).file() + "{",
		"endless":     newLog(t, 1).file() + strings.Repeat("x", 2<<20),
	} {
		if _, err := auditchain.Verify(strings.NewReader(file), auditchain.Trust{}); !errors.Is(err, auditchain.ErrFile) {
			t.Errorf("%s: %v, want ErrFile", name, err)
		}
	}
}

// FuzzVerify: whatever a file says, reading it ends, and what is said to be whole is
// what a writer writes.
func FuzzVerify(f *testing.F) {
	f.Add([]byte(`{"format":"carillon audit log 1","tenant":"6f1c3e52-2f4c-4f0e-9d53-0a4b8f9f3a11"}` + "\n" + `{"entry":1}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := auditchain.Verify(bytes.NewReader(file), auditchain.Trust{})
		if err != nil {
			return
		}
		if len(r.Findings) > auditchain.MaxFindings {
			t.Errorf("%d findings", len(r.Findings))
		}
		if lines := bytes.Count(bytes.TrimSpace(file), []byte("\n")); r.Whole() && r.Entries > int64(lines) {
			t.Errorf("%d entries in %d lines", r.Entries, lines)
		}
		if _, err := json.Marshal(r.Findings); err != nil {
			t.Error(err)
		}
	})
}
