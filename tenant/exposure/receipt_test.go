package exposure_test

import (
	"testing"
	"time"

	"carillon/signing/certificate"
	"carillon/tenant/exposure"
)

// A phone whose answer was lost sends the same again, and may revise with what it gets.
func TestSameUploadAgain(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	u := f.phone.Upload(likely, f.phone.Keys(3))
	f.publish(t, u)
	again := f.publish(t, u)
	if again.Inserted != 0 || again.Revised != 0 {
		t.Errorf("%d inserted, %d revised the second time", again.Inserted, again.Revised)
	}
	r, err := f.revise(t, confirmed, u.Keys, again.RevisionToken)
	if err != nil || r.Revised != 3 {
		t.Fatalf("the second token: %v", explain(err))
	}
	if r := f.publish(t, u); r.RevisionToken == "" || f.row(t, f.north, u.Keys[0]).RevisedType != "confirmed" {
		t.Error("the same after a revision changed something, or got no token")
	}
}

// Keys become public. What only their phone knows is its certificate's HMAC.
func TestOthersCannotRepeat(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	u := f.phone.Upload(likely, f.phone.Keys(3))
	f.publish(t, u)
	withNew := f.phone.Upload(likely, append(f.phone.Keys(4)[3:], u.Keys...))
	for name, other := range map[string]exposure.Upload{
		"another certificate for the keys": f.phone.Upload(likely, u.Keys),
		"another report type":              f.phone.Upload(confirmed, u.Keys),
		"a part of the keys":               f.phone.Upload(likely, u.Keys[:2]),
		"a new key beside them":            withNew,
		"another onset":                    changed(u, func(u *exposure.Upload) { u.SymptomOnsetInterval = laterOnset(f) }),
		"another traveler":                 changed(u, func(u *exposure.Upload) { u.Traveler = true }),
	} {
		_, err := f.service.Publish(t.Context(), f.north, other)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantErr(t, err, exposure.ErrMissingRevisionToken)
	}
	if n := f.count(t); n != 3 {
		t.Errorf("%d keys stored, want 3", n)
	}
}

func laterOnset(f *fixture) int32 { return int32(f.world.Now().Add(-72*time.Hour).Unix() / 600) }

func changed(u exposure.Upload, change func(*exposure.Upload)) exposure.Upload {
	change(&u)
	return u
}

// Known keys under one certificate, sent in ever new ways, fail a shared transaction
// once; after that each costs its own alone. The true repetition is known all the same.
func TestKnownKeysInManyWays(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	u := f.phone.Upload(likely, f.phone.Keys(3))
	f.publish(t, u)
	const alone = 4 // begin, insert, look for the receipt, roll back
	for i := range 4 {
		u.SymptomOnsetInterval = laterOnset(f) - int32(i)*144
		var err error
		trips := f.world.Trips(func() { _, err = f.service.Publish(t.Context(), f.north, u) })
		wantErr(t, err, exposure.ErrMissingRevisionToken)
		if shared := trips > alone; shared != (i == 0) {
			t.Errorf("way %d: %d round trips", i+1, trips)
		}
	}
	u.SymptomOnsetInterval = 0
	if r := f.publish(t, u); r.Inserted != 0 || r.RevisionToken == "" {
		t.Errorf("the first upload again: %d inserted", r.Inserted)
	}
}

// With a token that does not fit, the token counts.
func TestWrongTokenIsNoRepetition(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	u := f.phone.Upload(likely, f.phone.Keys(1))
	f.publish(t, u)
	u.RevisionToken = "AAAA"
	_, err := f.service.Publish(t.Context(), f.north, u)
	wantErr(t, err, exposure.ErrInvalidRevisionToken)
}

// A receipt is gone when its certificate has ended, and not before.
func TestReceiptsAreDeleted(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	var ends time.Time
	u := f.phone.Upload(likely, f.phone.Keys(1), func(c *certificate.Claims) { ends = c.Expires })
	f.publish(t, u)
	receipts := func() (n int) {
		if err := f.world.Database.Super().QueryRowContext(t.Context(), `select count(*) from publish_receipt`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, c := range []struct {
		at   time.Time
		want int
	}{{ends, 1}, {ends.Add(3 * time.Hour), 0}} {
		if err := exposure.Cleanup(t.Context(), f.world.Jobs, f.north.ID, exposure.DefaultLimits(), c.at); err != nil {
			t.Fatal(err)
		}
		if n := receipts(); n != c.want {
			t.Errorf("%d receipts at %v, want %d", n, c.at, c.want)
		}
	}
}
