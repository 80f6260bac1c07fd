package adminui_test

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	adminui "carillon/admin-ui"
	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/approval"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
	"carillon/tenant/key/keeping"
	"carillon/tenant/mail"
	"carillon/tenant/member"
	"carillon/tenant/role"
	"carillon/tenant/tenanttest"
)

const signingKeysPath = "/portal/north-shore/keys"

// custodyWorld is a portal over a database: its keys, and what becomes of them, are real.
type custodyWorld struct {
	*world
	as     map[string]authz.Subject // members of the database's own, by who signs in
	db     *tenanttest.World
	north  *tenant.Tenant
	keeper *keeping.Keeper
}

// memberStaff lets some who sign in be members of the database's own.
type memberStaff struct {
	adminui.Staff
	as map[string]authz.Subject
}

func (s memberStaff) Authenticate(ctx context.Context, t *tenant.Tenant, who oidc.Identity) (authz.Subject, error) {
	if by, is := s.as[who.Email]; is {
		return by, nil
	}
	return s.Staff.Authenticate(ctx, t, who)
}

func newCustodyWorld(t *testing.T) *custodyWorld {
	t.Helper()
	k := &custodyWorld{db: tenanttest.New(t), as: map[string]authz.Subject{}}
	k.north = k.db.Create("north-shore")
	k.world = newWorld(t, func(c *adminui.Config) {
		c.Keys, c.Staff = custody.NewStaff(k.db.Portal, c.Policies, nil, c.Now), memberStaff{c.Staff, k.as}
	})
	k.staff.Tenants = []*tenant.Tenant{k.north}
	k.keeper = keeping.New(keeping.Config{
		DB: k.db.Jobs, Keys: key.NewRing(k.db.Jobs, k.db.Root), Directory: tenant.NewDirectory(k.db.Jobs),
		Policies: role.NewPolicies(k.db.Jobs), Mail: mail.None{}, BaseURL: "https://carillon.example",
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Now: k.clock,
	})
	return k
}

func (k *custodyWorld) signIn(email string) {
	k.t.Helper()
	k.login.As = identity(email)
	k.login.As.AuthTime = k.clock()
	k.get("/login/start")
}

func (k *custodyWorld) keep() {
	k.t.Helper()
	if err := k.keeper.Run(k.t.Context(), k.north.ID); err != nil {
		k.t.Fatal(err)
	}
}

// member is a key custodian of the authority's own.
func (k *custodyWorld) member(name string) authz.Subject {
	k.t.Helper()
	m := member.Member{Issuer: "https://idp.example", Email: name + "@north.example", Name: name, Roles: []authz.Role{authz.KeyCustodian}}
	if err := k.db.Operator.In(k.t.Context(), k.north.ID, func(tx *tenant.Tx) error { return member.Add(k.t.Context(), tx, m) }); err != nil {
		k.t.Fatal(err)
	}
	var id uuid.UUID
	if err := k.db.Database.Super().QueryRowContext(k.t.Context(), `select member_id from member where email = $1`, m.Email).Scan(&id); err != nil {
		k.t.Fatal(err)
	}
	return authz.Subject{Kind: authz.Person, ID: id.String(), Name: name, Roles: m.Roles}
}

func TestKeysAreShownAndRotated(t *testing.T) {
	t.Parallel()
	k := newCustodyWorld(t)
	k.signIn(custodian)
	list := k.get(signingKeysPath).wants(200, "Keys").contains("Export files").contains("north-shore-c1").contains("310 v1").
		contains("The next version is made").contains("You should rotate it")
	one := k.get(list.link("Certificates")).wants(200, "Certificates").contains("BEGIN PUBLIC KEY").contains("Fingerprint").contains("75 minutes")
	if file := k.get(one.link("Download as PEM")); file.status != 200 || !strings.HasPrefix(file.body, "-----BEGIN PUBLIC KEY-----") {
		t.Errorf("download: %d %s", file.status, file.body)
	}
	k.get(signingKeysPath+"/certificate/public/9").wants(404, "There is no such key")
	k.get(signingKeysPath+"/token/public/1").wants(404, "There is no such key")
	k.get(signingKeysPath+"/nothing").wants(404, "There is no such key")

	path := one.link("Rotate now")
	k.get(path).wants(200, "Rotate: Certificates").contains("In order, after 60 minutes").contains("cannot be brought back")
	k.post(path, url.Values{"urgency": {"at-once"}}).wants(422, "Rotate: Certificates").contains("Say why")
	k.post(path, url.Values{"urgency": {"at-once"}, "reason": {"A laptop was stolen."}}).wants(200, "Rotation: Certificates").
		contains("The rotation has begun.").contains("A laptop was stolen.")
	k.post(path, url.Values{"reason": {"Again."}}).wants(409, "This key is being rotated already")
	k.keep()
	k.pass(key.HandLead)
	k.keep()
	k.get(one.url.Path).wants(200, "Certificates").contains("north-shore-c2").contains("Verify-only")
	k.signIn(auditor)
	k.get(path).wants(403, "You may not do this")
}

func TestPeriodOfAKey(t *testing.T) {
	t.Parallel()
	k := newCustodyWorld(t)
	k.signIn(owner)
	path := k.get(signingKeysPath+"/token").wants(200, "Tokens").contains("30 days").link("Change how long versions are used")
	k.get(path).wants(200, "How long versions are used: Tokens").contains("24 to 2160")
	for _, bad := range []string{"23", "2161", "x", "-1", "99999999999999999999"} {
		k.post(path, url.Values{"period": {bad}}).wants(422, "How long versions are used: Tokens").contains("Enter a number of hours")
	}
	k.post(path, url.Values{"period": {"240"}}).wants(200, "Tokens").contains("The time was changed.").contains("10 days")
	k.post(path, url.Values{"period": {""}}).wants(200, "Tokens").contains("30 days")
}

// Each step of a guided rotation can be left and resumed, and says what comes next.
func TestGuidedRotation(t *testing.T) {
	t.Parallel()
	k := newCustodyWorld(t)
	ann, bob := k.member("ann"), k.member("bob")
	k.as[custodian] = ann
	k.signIn(custodian)
	k.post(signingKeysPath+"/export/rotate", url.Values{"reason": {"Once a year."}}).wants(200, "Rotation: Export files").contains("is being made")
	k.keep()
	path := k.get(signingKeysPath).link("Export files: go on with its rotation")
	k.get(path).wants(200, "Rotation: Export files").contains("310 v2").contains("No: only with a reason").contains("Hand over")
	k.post(path+"/handed-over", nil).wants(200, "Rotation: Export files").contains("It was noted.")
	k.post(path+"/confirm", url.Values{"party": {"apple"}}).wants(422, "Rotation: Export files").contains("Say who confirmed it")
	k.post(path+"/confirm", url.Values{"party": {"nobody"}, "contact": {"x"}}).wants(400, "The form could not be read")
	k.post(path+"/confirm", url.Values{"party": {"apple"}, "contact": {"Letter of today"}}).wants(200, "Rotation: Export files")
	k.post(path+"/rehearsed", nil).wants(409, "No rehearsal was found")
	k.post(path+"/ask", nil).wants(422, "Rotation: Export files").contains("Say why")
	k.get(path).contains("You would do without:").contains("Google has confirmed it")
	k.post(path+"/ask", url.Values{"reason": {"Google has it, by telephone."}}).wants(200, "Rotation: Export files").contains("waits for a second person")
	err := k.db.Portal.In(t.Context(), k.north.ID, func(tx *tenant.Tx) error {
		asked, err := approval.Open(t.Context(), tx, k.clock())
		if err == nil {
			_, err = approval.Approve(t.Context(), tx, bob, asked[0].ID, k.clock())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	question := k.get(path).wants(200, "Rotation: Export files").contains("bob has agreed").link("Put it to use")
	k.get(question).wants(200, "Put the new version to use?").contains("may refuse all files")
	k.post(question, nil).wants(200, "Rotation: Export files").contains("coming into use")
	k.keep()
	end := k.get(path).wants(200, "Rotation: Export files").contains("Both versions sign").link("End the old signature")
	k.get(end).wants(200, "End the old signature?")
	k.post(end, nil).wants(200, "Rotation: Export files")
	k.keep()
	k.get(path).wants(200, "Rotation: Export files").contains("Done").lacks("/cancel")
	k.post(path+"/cancel", nil).wants(409, "The rotation is at another step by now")
	k.get(signingKeysPath+"/rotations/"+uuid.NewString()).wants(404, "There is no such rotation")
}

// What is late is on the page whether or not the process runs that should have done it.
func TestAlarmsOfKeys(t *testing.T) {
	t.Parallel()
	k := newCustodyWorld(t)
	k.signIn(custodian)
	k.get(signingKeysPath).lacks("Needs attention")
	k.pass(key.Rule(signing.CodeMAC).Period + 30*24*time.Hour)
	k.signIn(custodian)
	k.get(signingKeysPath).wants(200, "Keys").contains("Needs attention").contains("Digests of codes: what its schedule asks for is late")
}
