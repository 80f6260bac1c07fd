//go:build !release

package dev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/deploy/devidp"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/app"
	"carillon/tenant/client"
	"carillon/tenant/key"
	"carillon/tenant/member"
	"carillon/tenant/onboarding"
	"carillon/tenant/platform"
	"carillon/tenant/setting"
)

const (
	loginClient  = "carillon-portal"
	loginSecret  = "development"
	providerPath = "/dev/idp"
	callbackPath = "/login/callback"
)

func (s stack) issuer() string { return s.base + providerPath }

// redirectDomain is where links of text messages lead: browsers take every name below
// localhost for this computer. The links are https, which nobody serves here; with
// http instead, they work.
func (s stack) redirectDomain() string {
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.base, "http://"))
	if err != nil {
		return "redirect.localhost"
	}
	return "redirect.localhost:" + port
}

func (s stack) login() oidc.Config {
	return oidc.Config{
		Issuer: s.issuer(), ClientID: loginClient, ClientSecret: loginSecret,
		RedirectURL: s.base + callbackPath, Now: time.Now,
	}
}

// extra serves what exists in development only.
func (s stack) extra(tenants []*tenant.Tenant) (http.Handler, error) {
	provider, err := devidp.New(devidp.Config{
		Issuer: s.issuer(),
		Name:   "This provider",
		Clients: []devidp.Client{{
			ID: loginClient, Secret: loginSecret,
			RedirectURIs:           []string{s.base + callbackPath},
			PostLogoutRedirectURIs: []string{s.base + "/login"},
		}},
		People: people(),
	})
	if err != nil {
		return nil, fmt.Errorf("development identity provider: %w", err)
	}
	own, err := s.ownProvider()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(providerPath+"/", provider)
	mux.Handle(ownProviderPath+"/", own)
	mux.Handle("GET /dev/inbox", inboxHandler{inbox: s.inbox, tenants: tenants})
	mux.Handle("GET /dev/inbox/{tenant}", inboxList{inbox: s.inbox, tenants: tenants})
	mux.Handle("GET /dev/mailbox", mailboxHandler{s.mailbox})
	mux.Handle("GET /dev/mailbox.json", mailboxList{s.mailbox})
	mux.Handle("GET /dev/dns", dnsHandler{s.dns})
	mux.Handle("POST /dev/dns", dnsHandler{s.dns})
	mux.HandleFunc("GET /dev/inbox.css", serveInboxCSS)
	return mux, nil
}

// provision makes the departments that are not there yet, and returns them with
// what a program needs to reach them. API keys of an earlier run are used again.
func (s stack) provision(ctx context.Context) ([]*tenant.Tenant, endpoints, error) {
	db, err := tenant.Open(ctx, tenant.Config{DSN: s.database("carillon_operator")})
	if err != nil {
		return nil, endpoints{}, err
	}
	defer db.Close()
	if err := onboarding.CompleteKeys(ctx, db, s.root, time.Now()); err != nil {
		return nil, endpoints{}, err
	}
	if err := s.addOperators(ctx, db); err != nil {
		return nil, endpoints{}, err
	}
	earlier, err := readEndpoints(s.options.Data)
	if err != nil {
		return nil, endpoints{}, err
	}
	var now endpoints
	now.Exports.PeriodSeconds = int(s.options.ExportPeriod / time.Second)
	var tenants []*tenant.Tenant
	for _, d := range departments {
		t, e, err := s.department(ctx, db, d, earlier.of(d.slug))
		if err != nil {
			return nil, endpoints{}, fmt.Errorf("%s: %w", d.slug, err)
		}
		tenants = append(tenants, t)
		now.Tenants = append(now.Tenants, e)
	}
	t, e, err := s.department(ctx, db, sandbox, earlier.Sandbox)
	if err != nil {
		return nil, endpoints{}, fmt.Errorf("%s: %w", sandbox.slug, err)
	}
	now.Sandbox = e
	return append(tenants, t), now, nil
}

func (s stack) department(ctx context.Context, db *tenant.DB, d department, e endpoint) (*tenant.Tenant, endpoint, error) {
	_, err := onboarding.Create(ctx, db, s.root, d.spec(s.options), time.Now())
	if err != nil && !errors.Is(err, onboarding.ErrExists) {
		return nil, e, err
	}
	existed := err != nil
	t, err := tenant.NewDirectory(db).BySlug(ctx, d.slug)
	if err != nil {
		return nil, e, err
	}
	if !existed {
		if err := choose(ctx, db, t.ID, d); err != nil {
			return nil, e, err
		}
		if t, err = tenant.NewDirectory(db).BySlug(ctx, d.slug); err != nil {
			return nil, e, err
		}
	}
	if existed {
		period := s.options.ExportPeriod
		if err := onboarding.Retime(ctx, db, t.ID, period, 0, period, time.Now()); err != nil {
			return nil, e, err
		}
	}
	if err := s.addStaff(ctx, db, t, d); err != nil {
		return nil, e, err
	}
	if err := s.ensureKeys(ctx, db, t, &e); err != nil {
		return nil, e, err
	}
	if err := draftPack(ctx, db, t, e.DeviceKey); err != nil {
		return nil, e, err
	}
	return t, e, s.describe(ctx, db, t, d, &e)
}

// choose sets what the departments would have chosen: everything is on, so that
// everything can be tried.
func choose(ctx context.Context, db *tenant.DB, id tenant.ID, d department) error {
	return db.In(ctx, id, func(tx *tenant.Tx) error {
		for _, a := range d.apps {
			if err := app.Add(ctx, tx, demo, a, time.Now()); err != nil {
				return err
			}
		}
		return setting.Change(ctx, tx, demo, map[string]string{
			"test-types": "confirmed,likely,negative,user-report", "issue-user-report": "on",
			"batch-issue": "on", "generate-sms": "on", "self-report": "on", "self-report-page": "on",
			"enx": "on", "sms-template": "Open this link to tell the people you met, without naming you: [enslink] It works for [longexpires] hours.",
		}, time.Now())
	})
}

var demo = authz.Subject{Kind: authz.System, ID: "demo", Name: "Demo"}

func (s stack) addStaff(ctx context.Context, db *tenant.DB, t *tenant.Tenant, d department) error {
	return db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		for _, p := range d.staff() {
			err := member.Add(ctx, tx, member.Member{
				Issuer: s.issuer(), Email: p.Email, Name: p.Name, Roles: []authz.Role{authz.Role(p.Roles[0])},
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// addOperators makes the two demo people who run the platform, on the first run.
func (s stack) addOperators(ctx context.Context, db *tenant.DB) error {
	known, err := platform.Operators(ctx, db)
	if err != nil || len(known) > 0 {
		return err
	}
	for _, o := range operators {
		o.Issuer = s.issuer()
		if err := platform.Add(ctx, db, demo, o, time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// ensureKeys makes the API keys that an earlier run did not leave in working order.
func (s stack) ensureKeys(ctx context.Context, db *tenant.DB, t *tenant.Tenant, e *endpoint) error {
	known := client.NewAuthenticator(db, nil, time.Now)
	for kind, text := range map[client.Kind]*string{
		client.Device: &e.DeviceKey, client.Admin: &e.AdminKey, client.Stats: &e.StatsKey,
	} {
		if _, err := known.Authenticate(ctx, t, kind, *text, netip.Addr{}); err == nil {
			continue
		} else if !errors.Is(err, client.ErrUnknownKey) {
			return err
		}
		name := fmt.Sprintf("Demo %s key, %s", kind, time.Now().UTC().Format(time.RFC3339))
		err := db.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
			*text, _, err = client.Create(ctx, tx, kind, name)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s stack) describe(ctx context.Context, db *tenant.DB, t *tenant.Tenant, d department, e *endpoint) error {
	exports, err := key.NewRing(db, s.root).Public(ctx, t.ID, signing.Export)
	if err != nil {
		return err
	}
	for _, k := range exports {
		if k.State == key.Active {
			e.ExportKeyID, e.ExportKeyVersion, e.ExportPublicKeyPEM = k.KeyID, k.Label, signing.PublicPEM(k.DER)
		}
	}
	e.Name, e.Slug, e.Region = t.Name, string(t.Slug), t.Region
	e.HealthAuthorityID = t.HealthAuthorityID
	e.Issuer, e.Audience = t.Settings.Issuer, t.Settings.Audience
	e.Staff = d.staff()
	e.setURLs(s.base)
	e.RedirectBase = "http://" + strings.ToLower(t.Region) + "." + s.redirectDomain() + "/"
	e.ReportURL = "http://" + s.redirectDomain() + "/report"
	return nil
}
