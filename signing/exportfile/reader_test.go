package exportfile_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/signing/exportfile"
	"carillon/signing/exportfile/exportfiletest"
)

// A reader that shares no code with the writer reads what was given, in the order of
// the bytes; what the protocol §6.1 has absent is absent, and a risk of 0 is there.
func TestIndependentReader(t *testing.T) {
	t.Parallel()
	var signers []exportfile.Signer
	for _, version := range []string{"v2", "v1"} {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		signers = append(signers, exportfile.Signer{KeyID: "310", KeyVersion: version, Key: k})
	}
	given := exportfile.File{Start: time.Unix(1614556800, 0), End: time.Unix(1614571202, 0), Region: "US-XX"}
	for i := range int32(144 * 9) {
		k := exportfile.Key{
			TransmissionRisk: i % 9, RollingStart: 2690352*min(1, i) + i, RollingPeriod: 1 + i%144,
			ReportType: exportfile.ReportType(i % 6), HasOnset: i%30 > 0, DaysSinceOnset: max(0, i%30-1) - min(14, i%30),
		}
		binary.BigEndian.PutUint64(k.Data[:], uint64(i)*0x9e3779b97f4a7c15)
		given.Keys = append(given.Keys, k)
		k.Data[15] = 1
		given.Revised = append(given.Revised, k)
	}
	body, err := exportfile.Encode(given, signers)
	if err != nil {
		t.Fatal(err)
	}
	got, err := exportfiletest.Decode(body)
	if err != nil {
		t.Fatal(err)
	}
	if got.Start != 1614556800 || got.End != 1614571202 || got.Region != "US-XX" || got.BatchNum != 1 || got.BatchSize != 1 {
		t.Errorf("%d to %d, %q, batch %d of %d", got.Start, got.End, got.Region, got.BatchNum, got.BatchSize)
	}
	for list, pair := range map[string][2][]exportfiletest.Key{
		"keys": {written(given.Keys), got.Keys}, "revised keys": {written(given.Revised), got.Revised},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", list, diff)
		}
	}
	for i, s := range signers {
		if err := got.Verify(s.KeyID, s.KeyVersion, s.Key.Public().(*ecdsa.PublicKey)); err != nil {
			t.Error(err)
		}
		want := exportfiletest.Info{KeyID: s.KeyID, KeyVersion: s.KeyVersion, Algorithm: "1.2.840.10045.4.3.2"}
		if sig := got.Signatures[i]; got.Infos[i] != want || sig.Info != want || sig.BatchNum != 1 || sig.BatchSize != 1 {
			t.Errorf("signer %d is %v in one list, %v in the other", i, got.Infos[i], sig.Info)
		}
	}
}

// written is how keys must be found in a file.
func written(keys []exportfile.Key) []exportfiletest.Key {
	list := make([]exportfiletest.Key, len(keys))
	unless := func(absent bool, n int32) *int32 {
		if absent {
			return nil
		}
		return &n
	}
	for i, k := range keys {
		list[i] = exportfiletest.Key{
			Data: k.Data, Risk: &k.TransmissionRisk, RollingStart: unless(k.RollingStart == 0, k.RollingStart),
			RollingPeriod: unless(k.RollingPeriod == 144, k.RollingPeriod), Type: unless(k.ReportType == 0, int32(k.ReportType)),
			Days: unless(!k.HasOnset, k.DaysSinceOnset),
		}
	}
	slices.SortFunc(list, func(a, b exportfiletest.Key) int { return bytes.Compare(a.Data[:], b.Data[:]) })
	return list
}
