package service

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/deploy/phone"
	"carillon/signing/certificate"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/exposure"
	"carillon/tenant/onboarding"
	"carillon/tenant/sharing"
)

// neighbors are two health authorities of one deployment; the first shares travelers'
// keys with the second.
func neighbors(t *testing.T) (donor, recipient *deployment, withdraw func()) {
	t.Helper()
	donor = deploy(t, "north")
	other := *donor
	recipient = &other
	recipient.tenant = donor.world.Create("south", func(s *onboarding.Spec) {
		s.ExportPeriod, s.Truncate, s.MinRecords, s.PaddingRange = time.Hour, time.Hour, 20, 5
	})
	server := httptest.NewServer(donor.service.Handler())
	t.Cleanup(server.Close)
	recipient.url = server.URL + "/t/south"
	var offer uuid.UUID
	by := authz.Subject{Kind: authz.System, ID: "operator"}
	donor.asOperator(t, func(ctx context.Context, tx *tenant.Tx) (err error) {
		offer, err = sharing.Offer(ctx, tx, donor.tenant, by, "south", sharing.Terms{TravelersOnly: true}, donor.world.Now())
		return err
	})
	recipient.asOperator(t, func(ctx context.Context, tx *tenant.Tx) error {
		return sharing.Accept(ctx, tx, recipient.tenant, by, offer, donor.world.Now())
	})
	donor.world.Advance(time.Hour)
	return donor, recipient, func() {
		donor.asOperator(t, func(ctx context.Context, tx *tenant.Tx) error {
			return sharing.Withdraw(ctx, tx, donor.tenant, by, offer, donor.world.Now())
		})
	}
}

// owner is somebody's phone: it loads what the authority's URLs offer, remembers which
// files it has, and believes the authority's key alone.
type owner struct {
	phone *phone.Phone
	trust phone.Trust
	seen  map[string]bool
}

func (d *deployment) owner(t *testing.T) *owner {
	t.Helper()
	k := d.exportKey(t)
	return &owner{
		phone: &phone.Phone{
			Server: phone.Server{IndexURL: d.url + "/exports/index.txt", DownloadBase: d.url + "/exports/"}, Now: d.world.Now,
		},
		trust: phone.Trust{KeyID: k.KeyID, KeyVersion: k.KeyVersion, Key: k.Key}, seen: map[string]bool{},
	}
}

// wants loads what is new, and checks how many of the keys are among it, as new ones and
// as ones that turned out to be negative.
func (o *owner) wants(t *testing.T, when string, keys []exposure.UploadKey, fresh, revoked int) {
	t.Helper()
	files, err := o.phone.Download(t.Context(), o.trust, o.seen)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	ours := map[[16]byte]bool{}
	for _, k := range keys {
		raw, err := certificate.ParseBase64(k.Key)
		if err != nil {
			t.Fatal(err)
		}
		ours[[16]byte(raw)] = true
	}
	gotFresh, gotRevoked := 0, 0
	for _, f := range files {
		for _, k := range f.File.Keys {
			if ours[k.Data] {
				gotFresh++
			}
		}
		for _, k := range f.File.Revised {
			if ours[k.Data] && k.ReportType == exportfile.Revoked {
				gotRevoked++
			}
		}
	}
	if gotFresh != fresh || gotRevoked != revoked {
		t.Errorf("%s: %d of the keys are new and %d revoked, want %d and %d", when, gotFresh, gotRevoked, fresh, revoked)
	}
}

// A traveler's keys warn the other authority's phones, under that authority's signature;
// they hear when the person turns out not to be infected; and it ends with the
// withdrawal. Whoever stayed at home is not their business.
func TestTravelersKeysReachTheNeighbor(t *testing.T) {
	t.Parallel()
	donor, recipient, withdraw := neighbors(t)
	abroad, home := recipient.owner(t), donor.owner(t)
	person := donor.phone(t)
	send := func(report certificate.ReportType, keys []exposure.UploadKey, traveler bool, token string) string {
		t.Helper()
		u := person.Upload(report, keys)
		u.Traveler, u.RevisionToken = traveler, token
		return donor.publish(t, u).RevisionToken
	}
	export := func() {
		t.Helper()
		donor.export(t)
		recipient.export(t)
	}
	traveled, stayed, late := person.Keys(5), person.Keys(5), person.Keys(5)
	token := send(certificate.Likely, traveled, true, "")
	send(certificate.Likely, stayed, false, "")
	export()
	home.wants(t, "the traveler's at home", traveled, 5, 0)
	abroad.wants(t, "the traveler's abroad", traveled, 5, 0)
	abroad.seen = map[string]bool{}
	abroad.wants(t, "of who stayed, abroad", stayed, 0, 0)

	revised := send(certificate.Negative, traveled, true, token)
	export()
	home.wants(t, "after the negative test, at home", traveled, 0, 5)
	abroad.wants(t, "after the negative test, abroad", traveled, 0, 5)

	withdraw()
	send(certificate.Confirmed, late, true, revised)
	export()
	home.wants(t, "after the withdrawal, at home", late, 5, 0)
	abroad.wants(t, "after the withdrawal, abroad", late, 0, 0)
}
