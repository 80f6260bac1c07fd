package bundle

import (
	"crypto/sha256"
	"fmt"
	"time"

	"carillon/signing/exportfile"
)

// sampleDay is when a sample's window begins: long ago, so that no phone has met its keys.
var sampleDay = time.Date(2020, time.June, 1, 0, 0, 0, 0, time.UTC)

const (
	sampleKeys = 10
	sampleSpan = 4 * time.Hour
	interval   = 10 * time.Minute
	wholeDay   = 144
)

// Sample makes an export with keys that belong to nobody, signed like every export of the
// tenant: by its active keys, the newest first. It reads its own output as a phone would.
func Sample(region string, signers []exportfile.Signer) ([]byte, error) {
	f := exportfile.File{Start: sampleDay, End: sampleDay.Add(sampleSpan), Region: region}
	for i := range sampleKeys {
		sum := sha256.Sum256(fmt.Appendf(nil, "sample key %d of nobody", i))
		begins := sampleDay.AddDate(0, 0, -1-i)
		f.Keys = append(f.Keys, exportfile.Key{
			Data: [16]byte(sum[:16]), RollingStart: int32(begins.Unix() / int64(interval/time.Second)), RollingPeriod: wholeDay,
			ReportType: exportfile.Confirmed, DaysSinceOnset: int32(i%5 - 2), HasOnset: true,
		})
	}
	body, err := exportfile.Encode(f, signers)
	if err != nil {
		return nil, fmt.Errorf("sample export: %w", err)
	}
	if keys, _, err := exportfile.Check(body, signers); err != nil || keys != sampleKeys {
		return nil, fmt.Errorf("sample export: verify own output: %d keys, %w", keys, err)
	}
	return body, nil
}

// Expected is what "carillon export verify" prints of the sample of a region.
func Expected(region string) string {
	return fmt.Sprintf("%s: signature valid, region %s, %s to %s, %d keys, 0 revised\n",
		SampleName, region, sampleDay.Format(time.DateTime), sampleDay.Add(sampleSpan).Format(time.DateTime+" UTC"), sampleKeys)
}
