package conformance_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/signing"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/importer"
	"carillon/tenant/key"
	"carillon/tenant/outbound"
	"carillon/tenant/sharing"
)

// share lets a tenant offer keys, and another accept; the donor's next window begins.
func (w *world) share(t *testing.T, from, to account, terms sharing.Terms) (offer uuid.UUID) {
	t.Helper()
	w.as(t, from, func(ctx context.Context, tx *tenant.Tx) (err error) {
		offer, err = sharing.Offer(ctx, tx, from.Tenant, tester, string(to.Slug), terms, w.Now())
		return err
	})
	w.as(t, to, func(ctx context.Context, tx *tenant.Tx) error {
		return sharing.Accept(ctx, tx, to.Tenant, tester, offer, w.Now())
	})
	w.Advance(time.Hour)
	return offer
}

// as acts for a tenant, as its operator.
func (w *world) as(t *testing.T, of account, fn func(context.Context, *tenant.Tx) error) {
	t.Helper()
	if err := w.Operator.In(t.Context(), of.ID, func(tx *tenant.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// wantPublished checks in how many files of a tenant a key is as new, and as revised.
func (w *world) wantPublished(t *testing.T, of account, k tek, wantFresh, wantRevised int) {
	t.Helper()
	if fresh, revised, _ := find(t, k, w.files(t, of)); len(fresh) != wantFresh || len(revised) != wantRevised {
		t.Errorf("%s has the key in %d files, and revised in %d; want %d and %d", of.Slug, len(fresh), len(revised), wantFresh, wantRevised)
	}
}

// neighborRules are §10.1 between tenants: keys that one shares with another.
func neighborRules() []rule {
	return []rule{
		{"10.1", "a tenant's keys are in no other tenant's files, unless it has offered them and the other has accepted", "", func(t *testing.T, w *world) {
			from, to := w.newcomer(), w.newcomer()
			before, after := w.teks(1), w.teks(1)
			w.as(t, from, func(ctx context.Context, tx *tenant.Tx) error {
				_, err := sharing.Offer(ctx, tx, from.Tenant, tester, string(to.Slug), sharing.Terms{}, w.Now())
				return err
			})
			w.Advance(time.Hour)
			wantReceipt(t, w.publish(t, from, "confirmed", before, with("traveler", true)), 1)
			w.exportAll(t, untilExported, from, to)
			w.wantPublished(t, from, before[0], 1, 0)
			w.wantPublished(t, to, before[0], 0, 0)
			var offered []sharing.Share
			w.as(t, to, func(ctx context.Context, tx *tenant.Tx) (err error) {
				if offered, err = sharing.Incoming(ctx, tx); err == nil {
					err = sharing.Accept(ctx, tx, to.Tenant, tester, offered[0].Offer, w.Now())
				}
				return err
			})
			w.Advance(time.Hour)
			wantReceipt(t, w.publish(t, from, "confirmed", after), 1)
			w.exportAll(t, untilExported, from, to)
			w.wantPublished(t, from, after[0], 1, 0)
			w.wantPublished(t, to, after[0], 1, 0) // under its own signature alone: see files
			w.wantPublished(t, to, before[0], 0, 0)
		}},
		{"10.1", "of keys that are shared for travelers, or of some regions alone, no others cross", "", func(t *testing.T, w *world) {
			from, travelers, region, elsewhere := w.newcomer(), w.newcomer(), w.newcomer(), w.newcomer()
			w.share(t, from, travelers, sharing.Terms{TravelersOnly: true})
			w.share(t, from, region, sharing.Terms{Regions: []string{from.Region}})
			w.share(t, from, elsewhere, sharing.Terms{Regions: []string{"XX"}})
			home, away := w.teks(1), w.teks(1)
			wantReceipt(t, w.publish(t, from, "confirmed", home), 1)
			wantReceipt(t, w.publish(t, from, "confirmed", away, with("traveler", true)), 1)
			w.exportAll(t, untilExported, from, travelers, region, elsewhere)
			for _, c := range []struct {
				of         account
				home, away int
			}{{from, 1, 1}, {travelers, 0, 1}, {region, 1, 1}, {elsewhere, 0, 0}} {
				w.wantPublished(t, c.of, home[0], c.home, 0)
				w.wantPublished(t, c.of, away[0], c.away, 0)
			}
		}},
		{"10.1", "the revision of a shared key follows it", "", func(t *testing.T, w *world) {
			from, to := w.newcomer(), w.newcomer()
			w.share(t, from, to, sharing.Terms{})
			keys := w.teks(1)
			token := wantReceipt(t, w.publish(t, from, "likely", keys), 1)
			w.exportAll(t, untilExported, from, to)
			wantReceipt(t, w.publish(t, from, "negative", keys, with("revisionToken", token)), 0)
			w.exportAll(t, untilExported, from, to)
			for _, of := range []account{from, to} {
				w.wantPublished(t, of, keys[0], 1, 1)
				if _, revised, _ := find(t, keys[0], w.files(t, of)); len(revised) == 1 && valued(revised[0].Type) != int32(exportfile.Revoked) {
					t.Errorf("%s: revised to type %d", of.Slug, valued(revised[0].Type))
				}
			}
		}},
		{"10.1", "shared keys are not passed on to a third tenant", "", func(t *testing.T, w *world) {
			from, to, third := w.newcomer(), w.newcomer(), w.newcomer()
			w.share(t, from, to, sharing.Terms{})
			w.share(t, to, third, sharing.Terms{})
			keys := w.teks(1)
			wantReceipt(t, w.publish(t, from, "confirmed", keys), 1)
			w.exportAll(t, 2*untilExported, from, to, third)
			w.wantPublished(t, to, keys[0], 1, 0)
			w.wantPublished(t, third, keys[0], 0, 0)
		}},
		{"10.1", "the recipient's phones can neither revise a shared key nor upload it anew; its donor's token is no good there", "", func(t *testing.T, w *world) {
			from, to := w.newcomer(), w.newcomer()
			w.share(t, from, to, sharing.Terms{})
			keys := w.teks(1)
			token := wantReceipt(t, w.publish(t, from, "likely", keys), 1)
			w.exportAll(t, untilExported, from, to)
			wantUploadRefusal(t, w.publish(t, to, "confirmed", keys), bad, "missing_revision_token", "…")
			wantUploadRefusal(t, w.publish(t, to, "confirmed", keys, with("revisionToken", token)), bad, "invalid_revision_token", "…")
		}},
		{"10.1", "after the donor withdrew, or the recipient ended it, nothing crosses; what has crossed stays", "", func(t *testing.T, w *world) {
			from, withdrawn, ended := w.newcomer(), w.newcomer(), w.newcomer()
			first, second := w.share(t, from, withdrawn, sharing.Terms{}), w.share(t, from, ended, sharing.Terms{})
			before, after := w.teks(1), w.teks(1)
			wantReceipt(t, w.publish(t, from, "confirmed", before), 1)
			w.exportAll(t, untilExported, from, withdrawn, ended)
			w.as(t, from, func(ctx context.Context, tx *tenant.Tx) error {
				return sharing.Withdraw(ctx, tx, from.Tenant, tester, first, w.Now())
			})
			w.as(t, ended, func(ctx context.Context, tx *tenant.Tx) error {
				return sharing.End(ctx, tx, ended.Tenant, tester, second, w.Now())
			})
			wantReceipt(t, w.publish(t, from, "confirmed", after), 1)
			w.exportAll(t, untilExported, from, withdrawn, ended)
			for _, of := range []account{withdrawn, ended} {
				w.wantPublished(t, of, before[0], 1, 0)
				w.wantPublished(t, of, after[0], 0, 0)
			}
		}},
	}
}

// partner is an outside key server whose files a rule writes.
type partner struct {
	url     string
	signer  exportfile.Signer
	trusted exportfile.TrustedKey
	objects map[string][]byte // by path; nil while requests are served
}

func newPartner(t *testing.T) *partner {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &partner{
		signer:  exportfile.Signer{KeyID: "302", KeyVersion: "v1", Key: k},
		trusted: exportfile.TrustedKey{KeyID: "302", KeyVersion: "v1", Key: &k.PublicKey}, objects: map[string][]byte{},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, found := p.objects[strings.TrimPrefix(r.URL.Path, "/")]
		if !found {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(body)
	}))
	t.Cleanup(s.Close)
	p.url = s.URL
	return p
}

// file makes one of keys as they are published.
func (p *partner) file(t *testing.T, w *world, keys ...tek) []byte {
	t.Helper()
	f := exportfile.File{Start: w.Now().Truncate(time.Hour), End: w.Now().Truncate(time.Hour).Add(time.Hour), Region: "XX"}
	for _, k := range keys {
		f.Keys = append(f.Keys, exportfile.Key{
			Data: k.bytes(t), RollingStart: k.start, RollingPeriod: k.period, TransmissionRisk: 2,
			ReportType: exportfile.Confirmed, HasOnset: true,
		})
	}
	body, err := exportfile.Encode(f, []exportfile.Signer{p.signer})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// importFrom has a tenant import what an index lists, if these keys have signed it.
func (w *world) importFrom(t *testing.T, of account, index string, keys ...exportfile.TrustedKey) {
	t.Helper()
	fetcher := outbound.NewFetcher(outbound.New(true))
	w.as(t, of, func(ctx context.Context, tx *tenant.Tx) error {
		return importer.Add(ctx, tx, fetcher, tester, importer.Spec{Name: "partner", Index: index, Region: of.Region, Keys: keys}, w.Now())
	})
}

// imports does the job that imports.
func (w *world) imports(t *testing.T, of account) (told importer.Entry) {
	t.Helper()
	s := importer.New(importer.Config{
		DB: w.Jobs, Directory: tenant.NewDirectory(w.Jobs), Fetcher: outbound.NewFetcher(outbound.New(true)),
		Log: slog.New(slog.DiscardHandler), Now: w.Now,
	})
	if err := s.Turn(t.Context(), of.ID); err != nil {
		t.Fatal(err)
	}
	w.as(t, of, func(ctx context.Context, tx *tenant.Tx) error {
		list, err := importer.List(ctx, tx)
		if err == nil {
			told = list[0]
		}
		return err
	})
	return told
}

// importRules are §10.3: files of outside key servers.
func importRules() []rule {
	return []rule{
		{"10.3", "what another server lists in its index and has signed is in one's own next file, under one's own signature; so are its revisions", "", func(t *testing.T, w *world) {
			there, here := w.newcomer(), w.newcomer()
			public, err := key.NewRing(w.Jobs, w.Root).Public(t.Context(), there.ID, signing.Export)
			if err != nil {
				t.Fatal(err)
			}
			w.importFrom(t, here, w.base+"/t/"+string(there.Slug)+"/exports/index.txt",
				exportfile.TrustedKey{KeyID: public[0].KeyID, KeyVersion: public[0].Label, Key: public[0].Key})
			keys := w.teks(2)
			token := wantReceipt(t, w.publish(t, there, "likely", keys), 2)
			w.exportAll(t, untilExported, there)
			w.imports(t, here)
			w.exportAll(t, untilExported, here)
			wantReceipt(t, w.publish(t, there, "confirmed", keys, with("revisionToken", token)), 0)
			w.exportAll(t, untilExported, there)
			w.imports(t, here)
			w.exportAll(t, untilExported, here)
			for _, k := range keys {
				w.wantPublished(t, here, k, 1, 1)
			}
		}},
		{"10.3", "a file that none of the configured keys has signed is not imported", "", func(t *testing.T, w *world) {
			of, p, other := w.newcomer(), newPartner(t), newPartner(t)
			w.importFrom(t, of, p.url+"/index.txt", other.trusted)
			keys := w.teks(1)
			p.objects["index.txt"], p.objects["1.zip"] = []byte("1.zip"), p.file(t, w, keys...)
			if e := w.imports(t, of); e.Failing != 1 || e.Stored != 0 {
				t.Errorf("told as %+v", e)
			}
			w.export(t, of, untilExported)
			w.wantPublished(t, of, keys[0], 0, 0)
		}},
		{"10.3", "a file whose bytes were changed is not imported", "", func(t *testing.T, w *world) {
			of, p := w.newcomer(), newPartner(t)
			w.importFrom(t, of, p.url+"/index.txt", p.trusted)
			body := bytes.Clone(p.file(t, w, w.teks(1)...))
			body[60] ^= 1
			p.objects["index.txt"], p.objects["1.zip"] = []byte("1.zip"), body
			if e := w.imports(t, of); e.Failing != 1 || e.Stored != 0 {
				t.Errorf("told as %+v", e)
			}
		}},
		{"10.3", "a key that is too old, or begins in the future, is left out for itself", "it is imported", func(t *testing.T, w *world) {
			of, p := w.newcomer(), newPartner(t)
			w.importFrom(t, of, p.url+"/index.txt", p.trusted)
			good, old, ahead := w.teks(1)[0], newTEK(w.midnight(-17), dayIntervals), newTEK(w.midnight(1), dayIntervals)
			p.objects["index.txt"], p.objects["1.zip"] = []byte("1.zip"), p.file(t, w, good, old, ahead)
			if e := w.imports(t, of); e.Done != 1 || e.Stored != 1 || e.Quarantined != 2 {
				t.Errorf("told as %+v", e)
			}
			w.export(t, of, untilExported)
			w.wantPublished(t, of, good, 1, 0)
			w.wantPublished(t, of, old, 0, 0)
			w.wantPublished(t, of, ahead, 0, 0)
		}},
		{"10.3", "names in an index are below its folder, with blanks around them or not; an index with any other, or a page, changes nothing", "an error page is read as an index, and gives up every file", func(t *testing.T, w *world) {
			of, p := w.newcomer(), newPartner(t)
			w.importFrom(t, of, p.url+"/exports/index.txt", p.trusted)
			p.objects["exports/a/1.zip"], p.objects["1.zip"] = p.file(t, w, w.teks(1)...), p.file(t, w, w.teks(1)...)
			for _, text := range []string{"a/1.zip\n../1.zip", "a/1.zip\n/1.zip", p.url + "/1.zip", "<html>\na/1.zip"} {
				p.objects["exports/index.txt"] = []byte(text)
				if e := w.imports(t, of); e.Failure == "" || e.Done != 0 {
					t.Errorf("%q: told as %+v", text, e)
				}
			}
			p.objects["exports/index.txt"] = []byte("\n  a/1.zip \r\n\n")
			if e := w.imports(t, of); e.Failure != "" || e.Done != 1 || e.Stored != 1 {
				t.Errorf("a good index: told as %+v", e)
			}
			delete(p.objects, "exports/index.txt")
			if e := w.imports(t, of); e.Failure == "" || e.Done != 1 {
				t.Errorf("no index: told as %+v", e)
			}
		}},
		{"10.3", "a key that phones have published stays theirs; an imported one can be neither revised nor uploaded anew", "", func(t *testing.T, w *world) {
			of, p := w.newcomer(), newPartner(t)
			w.importFrom(t, of, p.url+"/index.txt", p.trusted)
			own, foreign := w.teks(1), w.teks(1)
			token := wantReceipt(t, w.publish(t, of, "likely", own), 1)
			p.objects["index.txt"], p.objects["1.zip"] = []byte("1.zip"), p.file(t, w, own[0], foreign[0])
			if e := w.imports(t, of); e.Known != 1 || e.Stored != 1 {
				t.Errorf("told as %+v", e)
			}
			wantReceipt(t, w.publish(t, of, "confirmed", own, with("revisionToken", token)), 0)
			wantUploadRefusal(t, w.publish(t, of, "confirmed", foreign), bad, "missing_revision_token", "…")
			wantUploadRefusal(t, w.publish(t, of, "confirmed", foreign, with("revisionToken", token)), bad, "invalid_revision_token", "…")
		}},
		{"10.3", "a configuration may leave imported keys out", "", func(t *testing.T, w *world) {
			of, p := w.newcomer(), newPartner(t)
			w.configure(t, of, "own/", map[string]string{"imported": "off"})
			w.importFrom(t, of, p.url+"/index.txt", p.trusted)
			own, foreign := w.teks(1), w.teks(1)
			wantReceipt(t, w.publish(t, of, "confirmed", own), 1)
			p.objects["index.txt"], p.objects["1.zip"] = []byte("1.zip"), p.file(t, w, foreign...)
			w.imports(t, of)
			w.export(t, of, untilExported)
			for path, want := range map[string]int{"": 1, "own/": 0} {
				files := w.below(t, of, path)
				mine, _, _ := find(t, own[0], files)
				theirs, _, _ := find(t, foreign[0], files)
				if len(mine) != 1 || len(theirs) != want {
					t.Errorf("%q has the own key %d times and the imported one %d times, want once and %d", path, len(mine), len(theirs), want)
				}
			}
		}},
	}
}
