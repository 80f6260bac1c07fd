package service

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/key"
	"carillon/tenant/rehearsal"
	"carillon/tenant/role"
	"carillon/tenant/sharing"
)

// objectSQL finds something that a tenant has.
var objectSQL = map[string]string{
	exportWindow:            `select extract(epoch from f.starts_at)::bigint from export_file f join export_config c using (tenant_id, config_id) where tenant_id = $1 and c.path = '' order by 1 limit 1`,
	"archive":               `select archive_id from tenant_archive where tenant_id = $1 and shelved order by 1 limit 1`,
	"pack":                  `select pack_id from pack where tenant_id = $1 order by 1 limit 1`,
	"api-key":               `select api_key_id from api_key where tenant_id = $1 order by 1 limit 1`,
	"approval":              `select approval_id from approval where tenant_id = $1 order by 1 limit 1`,
	"alert":                 `select rule_id from alert_rule where tenant_id = $1 order by 1 limit 1`,
	"grant":                 `select grant_id from support_grant where tenant_id = $1 order by 1 limit 1`,
	"code":                  `select code_id from verification_code where tenant_id = $1 order by 1 limit 1`,
	"role":                  `select name from staff_role where tenant_id = $1 order by 1 limit 1`,
	"person":                `select member_id from member where tenant_id = $1 order by 'owner' = any (roles), member_id limit 1`,
	"user name of a person": `select email from member where tenant_id = $1 order by 'owner' = any (roles), member_id limit 1`,
	"invitation":            `select invitation_id from staff_invitation where tenant_id = $1 order by 1 limit 1`,
	"provider":              `select provider_id from identity_provider where tenant_id = $1 order by 1 limit 1`,
	"group":                 `select group_id from staff_group where tenant_id = $1 order by 1 limit 1`,
	"offer":                 `select offer_id from share_offer where tenant_id = $1 order by 1 limit 1`,
	"offer to it":           `select offer_id from share_offer where recipient = (select slug from tenant_directory where tenant = $1) order by 1 limit 1`,
	"application":           `select application_id from application where $1::uuid is not null order by 1 limit 1`,
	"slug":                  `select slug from tenant_directory where slug = 'west' and $1::uuid is not null`,
	"batch":                 `select batch_id from batch where tenant_id = $1 and issuer_kind = 'api-key' order by 1 limit 1`,
	"batch of a person":     `select batch_id from batch where tenant_id = $1 and idempotency_key = 'of a person'`,
	"table":                 `select file_id from batch_file where tenant_id = $1 and batch_id is null order by 1 limit 1`,
	"submission":            `select submission_id from lab_submission where tenant_id = $1 order by 1 limit 1`,
	"dead letter":           `select result_id from lab_result where tenant_id = $1 and state = 'dead' order by 1 limit 1`,
	"report of a person":    `select member_id || '.json' from member where tenant_id = $1 order by 1 limit 1`,
	"report of a key":       `select api_key_id || '.json' from api_key where tenant_id = $1 order by 1 limit 1`,

	signingKey: `select 'certificate' where $1::uuid is not null`,
	keyVersion: `select '1' where $1::uuid is not null`,
	"rotation": `select rotation_id from key_rotation where tenant_id = $1 order by 1 limit 1`,
}

// Objects that are in no table.
const (
	exportFile   = "export file"
	exportFolder = "export folder"
	exportWindow = "export window"
	// everyonesObject is no tenant's, but the same at each.
	everyonesObject = "everyone's"
	// signingKey and keyVersion are what each tenant has by the same name.
	signingKey = "signing key"
	keyVersion = "version of a key"
)

// sameAtEach reports whether one of the kinds has the same names at every tenant.
func sameAtEach(kinds []string) bool {
	return slices.ContainsFunc(kinds, func(k string) bool { return k == everyonesObject || k == signingKey })
}

// furnished are the tenants that have one of each of what has an ID.
func (e *everybody) furnished() []*tenant.Tenant { return []*tenant.Tenant{e.own, e.sandbox, e.other} }

// furnish gives it to them.
func (e *everybody) furnish(t *testing.T) {
	t.Helper()
	by, now := authz.Subject{Kind: authz.Person, ID: "test", Roles: []authz.Role{authz.Owner}}, e.world.Now()
	peers := map[*tenant.Tenant]*tenant.Tenant{e.own: e.third, e.sandbox: e.otherSandbox, e.other: e.third}
	for _, of := range e.furnished() {
		owner := string(authz.Owner)
		if of == e.other {
			owner = neighbor
		}
		for _, route := range []string{"/codes/new", "/staff/invite", "/sign-in/new"} {
			form := maps.Clone(examples["POST /portal/:tenant"+route].form)
			for field, value := range map[string]string{ // not those of the examples, which are made later
				"code_id": uuid.NewString(), "email": "furnished@people.example",
				"issuer": "https://furnished.example", "email_domains": "", "proof": "key",
			} {
				if form.Has(field) {
					form.Set(field, value)
				}
			}
			form.Set("name", "Furnished")
			done := e.visit(t, owner, http.MethodPost, "/portal/"+string(of.Slug)+route, form)
			if done.status >= 400 {
				t.Fatalf("%s: %v", route, done)
			}
		}
		e.bringTable(t, owner, of)
		for from, to := range map[*tenant.Tenant]*tenant.Tenant{of: peers[of], peers[of]: of} {
			e.in(t, from, func(ctx context.Context, tx *tenant.Tx) error {
				_, err := sharing.Offer(ctx, tx, from, by, string(to.Slug), sharing.Terms{}, now)
				return err
			})
		}
		err := role.NewStaff(e.world.Portal, e.world.Now).Save(t.Context(), of, by, role.Role{Name: authz.Role("helper-" + string(of.Slug)), Allowed: []authz.Action{authz.CodeRead}})
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range furnishSQL {
			e.sql(t, statement, of.ID)
		}
		for _, file := range []string{e.objectID(t, exportFile, of), e.objectID(t, exportFolder, of) + "/" + export.IndexName, e.objectID(t, exportFolder, of) + "/" + e.objectID(t, exportFile, of)} {
			if err := e.files.Replace(t.Context(), export.Prefix(of)+file, []byte("keys")); err != nil {
				t.Fatal(err)
			}
		}
	}
	e.rehearse(t)
}

// bringTable has somebody upload a table of codes to issue, and try it.
func (e *everybody) bringTable(t *testing.T, name string, of *tenant.Tenant) {
	t.Helper()
	got := e.upload(t, name, "/portal/"+string(of.Slug)+"/bulk/new", "result\nconfirmed\n")
	if got.status != http.StatusSeeOther {
		t.Fatalf("upload of a table: %v", got)
	}
	r := authz.Route{Method: http.MethodPost, Path: "/portal/:tenant/bulk/files/:id"}
	if got := e.visit(t, name, r.Method, at(r, string(of.Slug), e.found(t, "table", of)), exampleOf(r).form); got.status != http.StatusSeeOther {
		t.Fatalf("trying a table: %v", got)
	}
}

// phones meet, and do nothing else.
type phones struct{ rehearsal.Phones }

func (phones) Meet(context.Context, rehearsal.Place) (rehearsal.Memory, error) {
	return rehearsal.Memory(`{}`), nil
}

// rehearse has everybody at the sandbox have begun a rehearsal.
func (e *everybody) rehearse(t *testing.T) {
	t.Helper()
	var members []string
	e.in(t, e.sandbox, func(ctx context.Context, tx *tenant.Tx) error {
		return tx.Select(ctx, &members, `select member_id from member`)
	})
	desk := rehearsal.NewDesk(e.world.Portal, key.NewRing(e.world.Portal, e.world.Root), nil, phones{}, e.world.Now)
	for _, id := range members {
		if err := desk.Begin(t.Context(), e.sandbox, authz.Subject{Kind: authz.Person, ID: id, Name: "Somebody"}, 0); err != nil {
			t.Fatal(err)
		}
	}
}

var furnishSQL = []string{
	`insert into pack (tenant_id, pack_id, number, state, config, sms_keys, signed, asked_at, asked_by, asked_by_id, made_at, sha256, body)
	 values ($1, gen_random_uuid(), 1, 'made', '{"languages": ["en"], "values": {}, "texts": {}}', '[]', false, now(), 'Robin', 'r', now(), sha256('zip'), 'zip')`,
	`insert into tenant_archive (tenant_id, archive_id, shelved, recipient, asked_by, requester, state, asked_at, ended_at, size, sha256, expires_at)
	 select tenant_id, gen_random_uuid(), true, '', member_id, name, 'made', now(), now(), 1, sha256('zip'), now() + interval '1 day'
	   from member where tenant_id = $1 and 'owner' = any (roles) limit 1`,
	`insert into key_rotation (tenant_id, rotation_id, purpose, step, requested_at, requested_by)
	 values ($1, gen_random_uuid(), 'export', 'requested', now(), 'Robin')`,
	`insert into alert_rule (tenant_id, rule_id, figure, threshold, emails, changed_at, checked_day)
	 values ($1, gen_random_uuid(), 'issued-above', 1, '{a@health.example}', now(), current_date)`,
	`insert into support_grant (tenant_id, grant_id, email, role, granted_by, granted_at, expires_at)
	 select tenant_id, gen_random_uuid(), 'help@people.example', 'auditor', member_id, now(), now() + interval '1 day' from member where tenant_id = $1 limit 1`,
	`insert into approval (tenant_id, approval_id, kind, target, reason, requested_by, requester, requested_at, expires_at)
	 select tenant_id, gen_random_uuid(), 'key:activate', 'export 2', 'It is time.', member_id, name, now(), now() + interval '3 days' from member where tenant_id = $1 limit 1`,
	`insert into export_batch (tenant_id, config_id, starts_at, ends_at, state, published_at)
	 select tenant_id, config_id, w.at, w.at + interval '1 hour', 'published', w.at
	   from export_config c join tenant_directory d on d.tenant = c.tenant_id,
	        lateral (select timestamptz '2026-11-20 00:00:00Z' + d.number * interval '1 hour' as at) w
	  where tenant_id = $1 and c.path = ''`,
	`insert into export_file (tenant_id, config_id, starts_at, file_no, name, state, key_count, revised_count, size, sha256)
	 select tenant_id, config_id, starts_at, 1, '1.zip', 'published', 1, 0, 1, sha256('') from export_batch where tenant_id = $1`,
	`insert into staff_group (tenant_id, group_id, name) values ($1, gen_random_uuid(), 'g')`,
	`insert into message_delivery (tenant_id, code_id, state, queued_at, changed_at)
	 select tenant_id, code_id, 'queued', now(), now() from verification_code where tenant_id = $1`,
	`insert into batch (tenant_id, batch_id, state, idempotency_key, digest, created_at, issuer_kind, issuer_id, issuer_name, issuer_roles)
	 values ($1, gen_random_uuid(), 'running', 'k', sha256(''), now(), 'api-key', 'id', 'name', '{key-admin}')`,
	`insert into batch_row (tenant_id, batch_id, row_number, code_id, messaged, sealed_order)
	 select tenant_id, batch_id, 1, gen_random_uuid(), false, 'sealed' from batch where tenant_id = $1`,
	`insert into batch (tenant_id, batch_id, state, idempotency_key, digest, created_at, finished_at, issuer_kind, issuer_id, issuer_name, issuer_roles)
	 select tenant_id, gen_random_uuid(), 'done', 'of a person', sha256(''), now(), now(), 'person', member_id::text, name, '{}'
	   from member where tenant_id = $1 and 'owner' = any (roles) limit 1`,
	`insert into lab_submission (tenant_id, submission_id, api_key_id, format, mapping_version, received_at, queued, duplicates, corrections, ignored, dead_letters)
	 select tenant_id, gen_random_uuid(), api_key_id, 'csv', 0, now(), 0, 0, 0, 0, 1 from api_key where tenant_id = $1 limit 1`,
	`insert into lab_result (tenant_id, result_id, submission_id, accession_digest, essence_digest, state, reason, sealed, due_at, received_at, settled_at)
	 select tenant_id, gen_random_uuid(), submission_id, sha256('accession'), sha256('essence'), 'dead', 'phone_missing', '', now(), now(), now()
	   from lab_submission where tenant_id = $1`,
}

// objectID is what a tenant calls something that it has.
func (e *everybody) objectID(t *testing.T, kind string, of *tenant.Tenant) (id string) {
	t.Helper()
	switch kind {
	case exportFolder:
		return "for-" + string(of.Slug)
	case exportFile:
		from := 1_795_000_000 + 3600*slices.Index(e.furnished(), of)
		return strconv.Itoa(from) + "-" + strconv.Itoa(from+3600) + "-00001.zip"
	}
	if id = e.found(t, kind, of); id == "" {
		t.Fatalf("%s has no %s", of.Slug, kind)
	}
	return id
}

// found is what a tenant calls something, empty if it has none.
func (e *everybody) found(t *testing.T, kind string, of *tenant.Tenant) (id string) {
	t.Helper()
	err := e.world.Database.Super().QueryRowContext(t.Context(), objectSQL[kind], of.ID).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatal(err)
	}
	return id
}

// nobodysID is like the ID of something, but of nothing.
func nobodysID(kind string) string {
	switch {
	case kind == exportFile:
		return "1795900000-1795903600-00001.zip"
	case strings.HasPrefix(kind, "report of"):
		return uuid.NewString() + ".json"
	}
	return uuid.NewString()
}

// objectsOf are the kinds of what a request to a route names: in its URL, its form and its
// body.
func objectsOf(r authz.Route) []string {
	x := exampleOf(r)
	kinds := slices.AppendSeq(slices.Clone(x.objects), maps.Values(x.named))
	for _, member := range bodies[r.Method+" "+r.Path] {
		if kind, is := member.(thing); is {
			kinds = append(kinds, string(kind))
		}
	}
	return kinds
}

// request sends a route's example as the owner of a tenant, or with its key, with what
// pick says for each object. The answer has no trace of these.
func (e *everybody) request(t *testing.T, r authz.Route, to *tenant.Tenant, pick func(kind string) string) map[string]any {
	t.Helper()
	x := exampleOf(r)
	var picked []string
	choose := func(kind string) string {
		picked = append(picked, pick(kind))
		return picked[len(picked)-1]
	}
	var ids []string
	for _, kind := range x.objects {
		ids = append(ids, choose(kind))
	}
	target := at(r, string(to.Slug), ids...)
	if r.Credential.OfSession() {
		form := url.Values{}
		maps.Copy(form, x.form)
		for field, kind := range x.named {
			form.Set(field, choose(kind))
		}
		return e.visit(t, string(authz.Owner), r.Method, target, form).comparable(picked...)
	}
	body := maps.Clone(bodies[r.Method+" "+r.Path])
	for name, member := range body {
		if kind, is := member.(thing); is {
			body[name] = choose(string(kind))
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	key := map[*tenant.Tenant]map[client.Kind]string{e.own: e.keys, e.sandbox: e.sandboxKeys}[to][keyKinds[r.Credential]]
	kind := "application/json"
	if r.Credential == authz.CredentialSCIMKey {
		kind = "application/scim+json"
	}
	return e.ask(t, r.Method, target, "", kind, string(text), "Accept", "application/json", "X-API-Key", key, "Authorization", "Bearer "+key).comparable(picked...)
}

// What another authority has is, under one's own URLs, what nobody has; and what the
// sandbox has is nothing to the authority itself, and the reverse. What it has itself is
// there.
func (e *everybody) noObjectOfAnotherAuthority(t *testing.T) {
	before := map[*tenant.Tenant]map[string]string{}
	for _, of := range e.furnished() {
		before[of] = e.rowsOf(t, of)
	}
	var routes []authz.Route
	for _, r := range e.service.Routes() {
		if kinds := objectsOf(r); r.TenantFrom == authz.TenantFromURL && len(kinds) > 0 && !sameAtEach(kinds) {
			routes = append(routes, r)
		}
	}
	for _, r := range routes {
		for _, to := range []*tenant.Tenant{e.own, e.sandbox} {
			e.noObject(t, r, to)
		}
	}
	for _, of := range e.furnished() {
		if diff := cmp.Diff(before[of], e.rowsOf(t, of)); diff != "" {
			t.Errorf("the rows of %s have changed:\n%s", of.Slug, diff)
		}
	}
	e.ownObjectsAreThere(t, routes)
}

// rowsOf is what the tables hold of a tenant, without what its own requests make at the
// first use of the laboratories' feed and of tables.
func (e *everybody) rowsOf(t *testing.T, of *tenant.Tenant) map[string]string {
	t.Helper()
	rows := e.rows(t, of)
	delete(rows, "lab_secret")
	delete(rows, "batch_secret")
	return rows
}

// noObject asks a tenant for nothing, and for what each other one has.
func (e *everybody) noObject(t *testing.T, r authz.Route, to *tenant.Tenant) {
	t.Helper()
	missing := e.request(t, r, to, nobodysID)
	status, _ := missing["status"].(int)
	if status == http.StatusForbidden || status >= 500 || (status < 400 && !r.Credential.OfSession()) {
		t.Errorf("%s %s of nothing: %v", r.Method, r.Path, missing)
	}
	for _, of := range e.furnished() {
		if of == to {
			continue
		}
		foreign := e.request(t, r, to, func(kind string) string { return e.objectID(t, kind, of) })
		if diff := difference(missing, foreign); diff != "" {
			t.Errorf("%s %s of something of %s, asked at %s, differs from nobody's (-nobody's +another's):\n%s", r.Method, r.Path, of.Slug, to.Slug, diff)
		}
	}
}

// ownObjectsAreThere fails if what reads an object does not find the tenant's own: then it
// would have proved nothing that others' are not found.
func (e *everybody) ownObjectsAreThere(t *testing.T, routes []authz.Route) {
	t.Helper()
	for _, r := range routes {
		if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Action != authz.CodeRead {
			continue
		}
		missing := e.request(t, r, e.own, nobodysID)
		mine := e.request(t, r, e.own, func(kind string) string { return e.objectID(t, kind, e.own) })
		if difference(missing, mine) == "" && !unknowable[r.Method+" "+r.Path] {
			t.Errorf("%s %s does not find the tenant's own: %v", r.Method, r.Path, mine["status"])
		}
	}
}

// unknowable are the routes that show nothing of an object in the state in which it is
// furnished.
var unknowable = map[string]bool{
	"GET /portal/:tenant/sharing/:id/end": true, // an offer that was accepted
}
