package certificate_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"carillon/signing/certificate"
)

// count is the bytes 0, 1, … of the vectors' secrets.
func count(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

const dayD = 2659968 // a UTC midnight, of the vectors

func fourteen() []certificate.TEK {
	keys := make([]certificate.TEK, 14)
	for i := range keys {
		sum := sha256.Sum256(fmt.Appendf(nil, "tek-%d", i))
		period := int32(144)
		if i == 0 {
			period = 90
		}
		keys[i] = certificate.TEK{Key: base64.StdEncoding.EncodeToString(sum[:16]), RollingStart: dayD - 144*int32(i), RollingPeriod: period}
	}
	return keys
}

// macVectors are those of the verification protocol §3.1, by number, and the one of
// the key server protocol §2.3. An empty three means that the form must be refused.
var macVectors = []struct {
	name        string
	secret      []byte
	keys        []certificate.TEK
	four, three string
}{
	{
		"1", count(16),
		[]certificate.TEK{{Key: "AAECAwQFBgcICQoLDA0ODw==", RollingStart: dayD, RollingPeriod: 144}},
		"OFF5DEd0myppE/koSvQ3Q6r0YbOBUxPdsMozMY1hjqU=", "bccHKEF+rtN5Ro172REMH7mQHxMVeyoRDtGUP0Nf+PY=",
	},
	{
		"2", count(32),
		[]certificate.TEK{
			{Key: "z8/Pz8/Pz8/Pz8/Pz8/Pzw==", RollingStart: 2659968, RollingPeriod: 144, TransmissionRisk: 1},
			{Key: "/////////////////////w==", RollingStart: 2659824, RollingPeriod: 144, TransmissionRisk: 2},
			{Key: "aGhoaGhoaGhoaGhoaGhoaA==", RollingStart: 2659680, RollingPeriod: 144, TransmissionRisk: 3},
			{Key: "+/v7+/v7+/v7+/v7+/v7+w==", RollingStart: 2659536, RollingPeriod: 144, TransmissionRisk: 4},
			{Key: "AAAAAAAAAAAAAAAAAAAAAA==", RollingStart: 2659392, RollingPeriod: 144, TransmissionRisk: 5},
			{Key: "09PT09PT09PT09PT09PT0w==", RollingStart: 2659248, RollingPeriod: 37, TransmissionRisk: 6},
		},
		"5puPDWQC5zP3yj5hqRjaqY/ASmT80RMsAynKWSHDaG0=", "",
	},
	{
		"3", count(32),
		[]certificate.TEK{
			{Key: "EREREREREREREREREREREQ==", RollingStart: 2659968, RollingPeriod: 144},
			{Key: "IiIiIiIiIiIiIiIiIiIiIg==", RollingStart: 2659824, RollingPeriod: 144, TransmissionRisk: 2},
		},
		"+scx+7qe+J8wR5ZtJ98Yi0XZlS4qHo6zsvPIehZbCTs=", "",
	},
	{
		"4", count(16), fourteen(),
		"u4o5MRsnSvQXCp74AIjczxL2IFxNbzvE+hSZd9WYt/o=", "UczBXsLoOWtxjRCEqTwXNrAayX0yACTg0Uh/pLdxwgU=",
	},
	{
		"5", count(100),
		[]certificate.TEK{{Key: "MzMzMzMzMzMzMzMzMzMzMw==", RollingStart: dayD, RollingPeriod: 144, TransmissionRisk: 8}},
		"SOSQCZf/6qZ+1Zzdes/+XF2HLEa4nC3/VgZ1DXv7uyQ=", "",
	},
	{
		"6", count(16),
		[]certificate.TEK{{Key: "AAECAwQFBgcICQoLDA0ODw==", RollingStart: dayD}},
		"F31FOGnSeA9AarhkG4uFIR6T6Gko/nKUVg+7NEUlqmM=", "EXmROJ7XZAr2a/mSPuoHpMw74L+OpIsErFFc4tMon8o=",
	},
	{
		"7", count(16),
		[]certificate.TEK{{Key: "-_v7-_v7-_v7-_v7-_v7-w", RollingStart: dayD, RollingPeriod: 144}},
		"USLp5ihkjhWckgtgGIMw7Fyz6dpGvkecztsCIs2FtUU=", "qjfK9kP4wTj28Snbjfb+zQOAEoPno34TdiQGyNRtq+0=",
	},
	{
		"8", count(16),
		[]certificate.TEK{{Key: "+/v7+/v7+/v7+/v7+/v7+w==", RollingStart: dayD, RollingPeriod: 144}},
		"P4VCipMiBYB5hahio5jV7mfRSRiIKK9PfvAkc13GH4U=", "tUpTQ/4KnpGNK57NN6Qz0IJR0uDHb2Ynf+JpEeWRvnw=",
	},
	{
		"key server §2.3", count(32),
		[]certificate.TEK{
			{Key: "gAAAAAAAAAAAAAAAAAAAfw==", RollingStart: 2690208, RollingPeriod: 144},
			{Key: "Dx4tPEtaaXiHlqW0w9Lh8A==", RollingStart: 2690640, RollingPeriod: 100},
			{Key: "/+7dzLuqmYh3ZlVEMyIRAA==", RollingStart: 2690784, RollingPeriod: 144},
		},
		"FGAP2yiJ1nvoVXYuD3FoOMUAxEq0Co2t/vAnoPrBV2A=", "+90zl8NrZU9Y0cttlcqzVskivqznXdtOkz9zTqCd2iE=",
	},
}

// refuseRiskless checks that the HMAC over keys with their risks forgotten is none.
func refuseRiskless(t *testing.T, secret []byte, keys []certificate.TEK) {
	t.Helper()
	riskless := slices.Clone(keys)
	for i := range riskless {
		riskless[i].TransmissionRisk = 0
	}
	four, err := certificate.MAC(secret, riskless)
	if err != nil {
		t.Fatal(err)
	}
	for form, mac := range map[string][]byte{"three fields": threeFields(secret, keys), "four fields, risks zero": four} {
		if err := certificate.VerifyMAC(secret, keys, mac); !errors.Is(err, certificate.ErrMACMismatch) {
			t.Errorf("%s: %v", form, err)
		}
	}
}

// threeFields is the three-field HMAC, written a second time for this test.
func threeFields(secret []byte, keys []certificate.TEK) []byte {
	var segments []string
	for _, k := range keys {
		segments = append(segments, fmt.Sprintf("%s.%d.%d", k.Key, k.RollingStart, k.RollingPeriod))
	}
	slices.Sort(segments)
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(strings.Join(segments, ",")))
	return h.Sum(nil)
}

func TestMACVectors(t *testing.T) {
	t.Parallel()
	for _, v := range macVectors {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			four, err := certificate.ParseBase64(v.four)
			if err != nil {
				t.Fatal(err)
			}
			keys := slices.Clone(v.keys)
			for range 5 { // in any order
				got, err := certificate.MAC(v.secret, keys)
				if err != nil || !bytes.Equal(got, four) {
					t.Errorf("MAC is %x, want %x (%v)", got, four, err)
				}
				if err := certificate.VerifyMAC(v.secret, keys, four); err != nil {
					t.Errorf("four fields: %v", err)
				}
				rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
			}
			if v.three == "" {
				refuseRiskless(t, v.secret, keys)
				return
			}
			three, err := certificate.ParseBase64(v.three)
			if err != nil {
				t.Fatal(err)
			}
			if got := threeFields(v.secret, keys); !bytes.Equal(got, three) {
				t.Errorf("three fields are %x, want %x", got, three)
			}
			if err := certificate.VerifyMAC(v.secret, keys, three); err != nil {
				t.Errorf("three fields: %v", err)
			}
		})
	}
}

// The three-field form must be refused once any risk is not zero (verification
// protocol §3, vectors 2, 3 and 5).
func TestThreeFieldsNeedZeroRisks(t *testing.T) {
	t.Parallel()
	for _, v := range macVectors {
		if v.three == "" {
			continue
		}
		three, err := certificate.ParseBase64(v.three)
		if err != nil {
			t.Fatal(err)
		}
		keys := slices.Clone(v.keys)
		keys[len(keys)-1].TransmissionRisk = 1
		if err := certificate.VerifyMAC(v.secret, keys, three); !errors.Is(err, certificate.ErrMACMismatch) {
			t.Errorf("%s: %v", v.name, err)
		}
	}
}

func TestMACRefuses(t *testing.T) {
	t.Parallel()
	keys, secret := fourteen(), count(16)
	right, err := certificate.MAC(secret, keys)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := certificate.MAC(secret, nil); !errors.Is(err, certificate.ErrNoKeys) {
		t.Errorf("MAC of nothing: %v", err)
	}
	if err := certificate.VerifyMAC(secret, nil, right); !errors.Is(err, certificate.ErrNoKeys) {
		t.Errorf("verify of nothing: %v", err)
	}
	change := func(f func([]certificate.TEK)) []certificate.TEK {
		changed := slices.Clone(keys)
		f(changed)
		return changed
	}
	for name, v := range map[string]struct {
		secret []byte
		keys   []certificate.TEK
		want   []byte
	}{
		"other secret": {count(17), keys, right},
		"a key less":   {secret, keys[1:], right},
		"a key twice":  {secret, append(slices.Clone(keys), keys[0]), right},
		"start":        {secret, change(func(k []certificate.TEK) { k[3].RollingStart++ }), right},
		"period":       {secret, change(func(k []certificate.TEK) { k[3].RollingPeriod-- }), right},
		"risk":         {secret, change(func(k []certificate.TEK) { k[3].TransmissionRisk = 1 }), right},
		"cut":          {secret, keys, right[:31]},
		"none":         {secret, keys, nil},
	} {
		if err := certificate.VerifyMAC(v.secret, v.keys, v.want); !errors.Is(err, certificate.ErrMACMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := certificate.MAC(nil, keys); err != nil {
		t.Errorf("an empty secret computes: %v", err)
	}
}

func TestMACLeavesKeysAsTheyAre(t *testing.T) {
	t.Parallel()
	keys := fourteen()
	if _, err := certificate.MAC(count(16), keys); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(keys, fourteen()) {
		t.Error("the keys were sorted in place")
	}
	if got := fmt.Sprintf("%v %+v %#v", keys[0], keys[:1], keys[0]); got != "[key] [[key]] [key]" {
		t.Errorf("prints %s", got)
	}
}

// Verification protocol §0: std and URL-safe, padded and not, even mixed.
func TestParseBase64(t *testing.T) {
	t.Parallel()
	want := []byte{0xfb, 0xff, 0xfe, 0x00}
	for _, text := range []string{"+//+AA==", "-__-AA", "+//+AA", "-__-AA==", "+_/-AA=", "-//-AA======"} {
		if got, err := certificate.ParseBase64(text); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is %x, %v", text, got, err)
		}
	}
	if got, err := certificate.ParseBase64(""); err != nil || len(got) != 0 {
		t.Errorf("nothing is %x, %v", got, err)
	}
	for _, text := range []string{"A", "AAAAA", "AA=A", "AA AA", " AAAA", "AAAA\n", "AA\r\nAA", "AAAA.", "ÄAAA", "AAA\x00"} {
		if got, err := certificate.ParseBase64(text); !errors.Is(err, certificate.ErrBase64) {
			t.Errorf("%q is %x, %v", text, got, err)
		}
	}
}

func FuzzParseBase64(f *testing.F) {
	for _, seed := range []string{"+//+AA==", "-__-AA", "A", "AA=A", "\n", "===="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := certificate.ParseBase64(text)
		if err != nil {
			if !errors.Is(err, certificate.ErrBase64) {
				t.Fatal(err)
			}
			return
		}
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
			again, err := certificate.ParseBase64(e.EncodeToString(b))
			if err != nil || !bytes.Equal(again, b) {
				t.Fatalf("%x came back as %x (%v)", b, again, err)
			}
		}
	})
}
