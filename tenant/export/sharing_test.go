package export

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/signing/certificate"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/onboarding"
	"carillon/tenant/sharing"
)

// neighbours are a donor and a recipient in one world, with a share in force.
func neighbours(t *testing.T, change ...func(*onboarding.Spec)) (donor, recipient *fixture, offer uuid.UUID) {
	t.Helper()
	donor = setUp(t)
	recipient = donor.of(t, donor.world.Create("south", append([]func(*onboarding.Spec){hourly}, change...)...))
	by := authz.Subject{Kind: authz.System, ID: "test"}
	donor.staff(t, func(ctx context.Context, tx *tenant.Tx) (err error) {
		offer, err = sharing.Offer(ctx, tx, donor.tenant, by, "south", sharing.Terms{}, donor.world.Now())
		return err
	})
	recipient.staff(t, func(ctx context.Context, tx *tenant.Tx) error {
		return sharing.Accept(ctx, tx, recipient.tenant, by, offer, donor.world.Now())
	})
	donor.world.Advance(time.Hour)
	return donor, recipient, offer
}

func (f *fixture) staff(tb testing.TB, act func(context.Context, *tenant.Tx) error) {
	tb.Helper()
	if err := f.world.Portal.In(tb.Context(), f.tenant.ID, func(tx *tenant.Tx) error { return act(tb.Context(), tx) }); err != nil {
		tb.Fatal(err)
	}
}

// The recipient's files have the donor's keys under the recipient's key, from the first
// window on; a revision follows; what comes after the withdrawal does not.
func TestSharedKeysAreExported(t *testing.T) {
	t.Parallel()
	donor, recipient, offer := neighbours(t, func(s *onboarding.Spec) { s.ExportPeriod = 4 * time.Hour })
	uploaded := donor.phone.Keys(6)
	receipt, err := donor.send(t.Context(), certificate.Likely, uploaded, "")
	if err != nil {
		t.Fatal(err)
	}
	own := recipient.mustPublish(t, 3)
	donor.world.Advance(8 * time.Hour)
	s := recipient.service(nil)
	recipient.turn(t, s)
	keys := bytesOf(uploaded)
	recipient.wantOnce(t, append(keys, own...))

	if _, err := donor.send(t.Context(), certificate.Negative, uploaded, receipt.RevisionToken); err != nil {
		t.Fatal(err)
	}
	donor.world.Advance(8 * time.Hour)
	recipient.turn(t, s)
	recipient.wantOnce(t, append(keys, own...))
	times, types := map[tek]int{}, map[tek]exportfile.ReportType{}
	for _, file := range recipient.files(t) {
		for _, k := range file.Revised {
			times[k.Data]++
			types[k.Data] = k.ReportType
		}
	}
	for _, k := range keys {
		if times[k] != 1 || types[k] != exportfile.Revoked {
			t.Errorf("a key that became negative is revised %d times, to %v", times[k], types[k])
		}
	}

	donor.staff(t, func(ctx context.Context, tx *tenant.Tx) error {
		return sharing.Withdraw(ctx, tx, donor.tenant, authz.Subject{Kind: authz.System}, offer, donor.world.Now())
	})
	late := donor.mustPublish(t, 3)
	donor.world.Advance(12 * time.Hour)
	recipient.turn(t, s)
	donor.turn(t, s)
	fresh, _ := recipient.observe(t)
	for _, k := range late {
		if fresh[k] != 0 {
			t.Error("a key that arrived after the withdrawal crossed")
		}
	}
	recipient.wantOnce(t, append(keys, own...))
	donor.wantOnce(t, append(late, keys...))
}

// A key that both have is in the recipient's files once, and the recipient's own facts
// are what is said of it.
func TestKeyOfBothIsExportedOnce(t *testing.T) {
	t.Parallel()
	donor, recipient, _ := neighbours(t)
	both := donor.phone.Keys(4)
	if _, err := recipient.send(t.Context(), certificate.Confirmed, both, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := donor.send(t.Context(), certificate.Likely, both, ""); err != nil {
		t.Fatal(err)
	}
	donor.world.Advance(5 * time.Hour)
	recipient.turn(t, recipient.service(nil))
	recipient.wantOnce(t, bytesOf(both))
	for _, file := range recipient.files(t) {
		for _, k := range file.Keys {
			if slices.Contains(bytesOf(both), k.Data) && k.ReportType != exportfile.Confirmed {
				t.Errorf("a key is exported as %v", k.ReportType)
			}
		}
	}
}

// Whatever the windows of both sides are, and while phones publish and several workers
// close windows of both at the same moments, each key that was accepted is in exactly
// one file of either.
func TestSharedKeysAreExportedOnceWhileTheyArrive(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ donor, recipient time.Duration }{
		"the donor's windows are longer":     {6 * time.Hour, time.Hour},
		"the recipient's windows are longer": {time.Hour, 6 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			donor, recipient, _ := neighbours(t, func(s *onboarding.Spec) {
				s.ExportPeriod, s.Truncate = c.recipient, c.recipient
			})
			donor.exec(t, `update tenant_setting set truncate_seconds = $2 where tenant_id = $1`, donor.tenant.ID, int(c.donor.Seconds()))
			donor.exec(t, `update export_config set period_seconds = $2 where tenant_id = $1`, donor.tenant.ID, int(c.donor.Seconds()))
			donor.world.Advance(6 * time.Hour) // the next of the donor's windows
			donor.directory = tenant.NewDirectory(donor.world.Jobs)
			recipient.directory = donor.directory
			fresh, err := tenant.NewDirectory(donor.world.Publish).ByID(t.Context(), donor.tenant.ID)
			if err != nil {
				t.Fatal(err)
			}
			donor.tenant = fresh

			var mu sync.Mutex
			var sent []tek
			publishing, stop := context.WithCancel(t.Context())
			var publishers, workers sync.WaitGroup
			for range 3 {
				publishers.Go(func() {
					for publishing.Err() == nil {
						keys, err := donor.publish(t.Context(), 3)
						if err != nil {
							t.Errorf("publish: %v", err)
							return
						}
						mu.Lock()
						sent = append(sent, keys...)
						mu.Unlock()
					}
				})
			}
			for i := range 3 {
				workers.Go(func() {
					s := recipient.service(nil)
					for range 12 {
						if i == 0 {
							donor.world.Advance(25 * time.Minute)
						}
						for _, of := range []tenant.ID{donor.tenant.ID, recipient.tenant.ID} {
							if err := s.Turn(t.Context(), of); err != nil {
								t.Errorf("turn: %v", err)
							}
						}
					}
				})
			}
			workers.Wait()
			stop()
			publishers.Wait()
			donor.world.Advance(24 * time.Hour)
			s := recipient.service(nil)
			for range 5 { // a turn makes some batches only
				donor.turn(t, s)
				recipient.turn(t, s)
			}
			if len(sent) == 0 {
				t.Fatal("nothing was published")
			}
			donor.wantOnce(t, sent)
			recipient.wantOnce(t, sent)
		})
	}
}

// What the files of donor and recipient have in common are not just the real keys, neither
// when they arrive nor when they are revised, whoever works first.
func TestSharedKeysHideInBothTenantsFiles(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]int{"the donor works first": 0, "the recipient works first": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			donor, recipient, _ := neighbours(t)
			both := []*fixture{donor, recipient}
			turns := func() {
				donor.world.Advance(5 * time.Hour)
				for i := range 4 {
					of := both[(first+i)%2]
					of.turn(t, of.service(nil))
				}
			}
			keys := donor.phone.Keys(3)
			r, err := donor.send(t.Context(), certificate.Likely, keys, "")
			if err != nil {
				t.Fatal(err)
			}
			turns()
			if _, err := donor.send(t.Context(), certificate.Confirmed, keys, r.RevisionToken); err != nil {
				t.Fatal(err)
			}
			turns()
			fresh, revised := donor.observe(t)
			alsoFresh, alsoRevised := recipient.observe(t)
			for what, lists := range map[string][2]map[tek]int{"keys": {fresh, alsoFresh}, "revised keys": {revised, alsoRevised}} {
				common := 0
				for k := range lists[0] {
					if lists[1][k] > 0 {
						common++
					}
				}
				if common < 20 {
					t.Errorf("%d %s are in files of both, want real ones and copies, at least 20", common, what)
				}
			}
			for _, k := range bytesOf(keys) {
				if fresh[k] != 1 || alsoFresh[k] != 1 || revised[k] != 1 || alsoRevised[k] != 1 {
					t.Errorf("a key is in %d and %d files, revised in %d and %d", fresh[k], alsoFresh[k], revised[k], alsoRevised[k])
				}
			}
		})
	}
}
