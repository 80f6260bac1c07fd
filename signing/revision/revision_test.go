package revision_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/signing/revision"
)

var key = bytes.Repeat([]byte{7}, 32)

func entries(n int) []revision.Entry {
	list := make([]revision.Entry, n)
	for i := range list {
		copy(list[i].TEK[:], fmt.Sprintf("exposure key %03d", i))
		list[i].RollingStart, list[i].RollingPeriod = 2690352+144*int32(i), 144
	}
	return list
}

func seal(t testing.TB, list []revision.Entry) string {
	t.Helper()
	tok, err := revision.Seal("r1", key, "north", list)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestTokenComesBack(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 14, revision.Step, revision.Step + 1, revision.MaxEntries} {
		want := entries(n)
		tok := seal(t, want)
		got, err := revision.Open(key, "north", tok)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d keys (-want +got):\n%s", n, diff)
		}
		if kid, err := revision.KeyID(tok); err != nil || kid != "r1" {
			t.Errorf("key ID %q, %v", kid, err)
		}
	}
	extreme := []revision.Entry{{RollingStart: 1<<31 - 1, RollingPeriod: -1 << 31}, {}}
	got, err := revision.Open(key, "north", seal(t, extreme))
	if err != nil || !cmp.Equal(extreme, got) {
		t.Errorf("extremes came back as %d entries, %v", len(got), err)
	}
}

// Key server protocol §3.1, DEFECT: the length must not tell how many keys there are,
// nor what their numbers are.
func TestLengthTellsOnlyTheStep(t *testing.T) {
	t.Parallel()
	for n := 1; n <= revision.MaxEntries; n++ {
		first := (n-1)/revision.Step*revision.Step + 1
		zeros := make([]revision.Entry, first)
		if got, want := len(seal(t, entries(n))), len(seal(t, zeros)); got != want {
			t.Errorf("%d keys make %d characters, %d make %d", n, got, first, want)
		}
	}
	if len(seal(t, entries(revision.Step))) == len(seal(t, entries(revision.Step+1))) {
		t.Error("a new step makes no longer token")
	}
}

// Key server protocol §3.1: standard base64, decoded tolerantly.
func TestAnySpellingOfBase64(t *testing.T) {
	t.Parallel()
	b, err := base64.StdEncoding.DecodeString(seal(t, entries(3)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if _, err := revision.Open(key, "north", e.EncodeToString(b)); err != nil {
			t.Error(err)
		}
	}
}

// A token that a phone holds stays good when the program is replaced.
func TestEarlierTokenOpens(t *testing.T) {
	t.Parallel()
	const tok = "" +
		"AQJyMZyR12F8QXVJaY4B1UBuxbTzDbvxegrgO1CiaLOkriS086bNh8JwguadcpUux5Fy+LicI8c/9gm2p6eodA+DUlVlplmu0bzj" +
		"hQJbuApR1sRsQABEukaS91xTQasuzbfIbSvZJPAFyfPY+uBkK+RYft2isJkUlKfoIp2yjSxi3zLlNm8K2tirzQ0262Eevk51UicL" +
		"ELN4O+/uUOWzzbnu4nLOeNNc+7PMekY3SC179QUHZw+MAVI+TNUGIuCN2vUTPq7JJgA4hUUsoEoC02IbWalg5CFfIRpDNVs5bFiv" +
		"hyJgvdf/slm4BRLgGmRwzMBiH6k7skTbdbEBaFXYzPMhwCRR6xQtU2ohYxBAu9walaYRUTQHtG11XLweoz1YVP8EDRChux82lRtc" +
		"1WrGAvVF+Tuno88EGdYWf1ACvy4BfPULBrkbScsmFyKXsyYukixNkbMoQtfyNkOE/wDVFtQJjIPjDyNjdcpR2D7vERMxxnjOMzRC" +
		"CPNlRDg0m+GLycshC1CwsAZRQbrGqisATFsADMH0ncUZ+T9YboM0Qkx54EUfQ+5KYNDJgO5GTlvgZdeW/5bc4GgfJkdRfC7TsHy2" +
		"jm9raK/4kzsEKJiurbpKTXlH8k9M8QD8VylOrdEl+Q7FFR+ef/inveh6q6Tmf/GaorG+d3CYaEFewf7Mhux5q2NzYdXbi/bCB2wY" +
		"NibCEZoAasVrBK4mgvb9LrSwpDkjJElaCZZdBsNPsEXnh88QFEoLMHx3o3nCsZdX/4WEumNA0xYsiZLcjRVndyF6A9y2nWnU5Hnh" +
		"Wqbcrnyg4fwCsgGllzz6j0X4JX856gHSX2KcI0ZbkjiOoit8DVuBNH/1iUwf++8PUj4zrM8GaFwWehxyGV65leX2wkCXRIQkflUW" +
		"IL8/FEKdaijpa9jSsZPwmpkjGt8lGRKR8S7fvqRRwg=="
	got, err := revision.Open(key, "north", tok)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entries(2), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	tok := seal(t, entries(3))
	if _, err := revision.Open(key, "south", tok); !errors.Is(err, revision.ErrMalformed) {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := revision.Open(bytes.Repeat([]byte{8}, 32), "north", tok); !errors.Is(err, revision.ErrMalformed) {
		t.Errorf("another key: %v", err)
	}
	if _, err := revision.Open(key[:16], "north", tok); err == nil || errors.Is(err, revision.ErrMalformed) {
		t.Errorf("a key of 16 bytes: %v", err)
	}
	for name, text := range map[string]string{
		"nothing":     "",
		"not base64":  "?",
		"cut":         tok[:len(tok)-8],
		"key ID only": base64.StdEncoding.EncodeToString([]byte{1, 2, 'r', '1'}),
		"version 2":   "Ag" + tok[2:],
		"huge":        strings.Repeat("A", 1<<20),
	} {
		if _, err := revision.Open(key, "north", text); !errors.Is(err, revision.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSealRefuses(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, revision.MaxEntries + 1} {
		if _, err := revision.Seal("r1", key, "north", entries(n)); err == nil {
			t.Errorf("sealed %d keys", n)
		}
	}
	if _, err := revision.Seal("", key, "north", entries(1)); err == nil {
		t.Error("sealed without a key ID")
	}
	if _, err := revision.Seal("r1", key[:31], "north", entries(1)); err == nil {
		t.Error("sealed with a short key")
	}
}

func TestEntryHidesItself(t *testing.T) {
	t.Parallel()
	e := entries(1)[0]
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("", "e", e)
	if got := fmt.Sprintf("%v %+v %#v %x", e, e, e, e); got != "[key] [key] [key] [key]" {
		t.Errorf("prints %s", got)
	}
	if !strings.Contains(log.String(), `"e":"[key]"`) {
		t.Errorf("logs %s", log.String())
	}
}

// FuzzOpen looks for a token that opens although it was not sealed: whatever is done to
// a text, what opens lists exactly what was once sealed under this key, for this tenant.
func FuzzOpen(f *testing.F) {
	sizes := []int{1, 2, revision.Step, revision.Step + 1}
	for _, n := range sizes {
		tok := seal(f, entries(n))
		for _, seed := range []string{tok, tok[:len(tok)-4], tok + "AAAA", "B" + tok[1:], strings.TrimRight(tok, "=")} {
			f.Add(seed)
		}
	}
	f.Add("")
	f.Add("AQJyMQ==")
	f.Fuzz(func(t *testing.T, tok string) {
		if _, err := revision.KeyID(tok); err != nil && !errors.Is(err, revision.ErrMalformed) {
			t.Fatalf("unknown error %v", err)
		}
		for _, tenant := range []string{"north", "south"} {
			list, err := revision.Open(key, tenant, tok)
			if err != nil {
				if !errors.Is(err, revision.ErrMalformed) {
					t.Fatalf("unknown error %v", err)
				}
				continue
			}
			if tenant != "north" || !slices.Contains(sizes, len(list)) || !cmp.Equal(entries(len(list)), list) {
				t.Fatalf("opened for %s, and never sealed: %q", tenant, tok)
			}
		}
	})
}

// FuzzSeal looks for entries that do not come back as they are, or of which the length
// of the token tells more than the step.
func FuzzSeal(f *testing.F) {
	f.Add([]byte("0123456789abcdef0001000f"), "r1", "north")
	f.Add(bytes.Repeat([]byte{0}, 24*30), "r", "")
	f.Add(bytes.Repeat([]byte{0xff}, 24*31), strings.Repeat("k", 100), "south")
	f.Fuzz(func(t *testing.T, raw []byte, kid, tenant string) {
		const size = 24
		var list []revision.Entry
		for ; len(raw) >= size && len(list) < revision.MaxEntries; raw = raw[size:] {
			list = append(list, revision.Entry{
				TEK: [16]byte(raw), RollingStart: int32(binary.BigEndian.Uint32(raw[16:])), RollingPeriod: int32(binary.BigEndian.Uint32(raw[20:])),
			})
		}
		tok, err := revision.Seal(kid, key, tenant, list)
		if err != nil {
			if len(list) > 0 && len(kid) > 0 && len(kid) <= 100 {
				t.Fatal(err)
			}
			return
		}
		got, err := revision.Open(key, tenant, tok)
		if err != nil || !cmp.Equal(list, got) {
			t.Fatalf("%d entries came back as %d (%v)", len(list), len(got), err)
		}
		if of, err := revision.KeyID(tok); err != nil || of != kid {
			t.Fatalf("key ID %q, want %q (%v)", of, kid, err)
		}
		one, err := revision.Seal(kid, key, tenant, list[:1])
		if err != nil || len(list) <= revision.Step && len(one) != len(tok) {
			t.Fatalf("a token of %d characters for %d entries, of %d for one (%v)", len(tok), len(list), len(one), err)
		}
	})
}
