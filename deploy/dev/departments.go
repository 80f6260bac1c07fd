//go:build !release

package dev

import (
	"slices"
	"strings"

	"carillon/authz"
	"carillon/deploy/devidp"
	"carillon/tenant"
	"carillon/tenant/app"
	"carillon/tenant/onboarding"
	"carillon/tenant/platform"
)

// department is one demo health authority. Regions are from the part of ISO 3166
// that is left to its users, so that no real authority is meant.
type department struct {
	slug, name, region string
	// kind is [tenant.Production] if it is empty.
	kind tenant.Kind
	// apps are where its links lead; without any, to the systems themselves.
	apps []app.Record
}

var departments = []department{
	{slug: "north-shore", name: "North Shore Department of Health", region: "XA-NS", apps: []app.Record{
		{OS: app.IOS, Name: "North Shore Alerts", ID: "DEMOTEAM01.example.north-shore", StoreURL: "https://apps.north-shore.example/ios"},
		{
			OS: app.Android, Name: "North Shore Alerts", ID: "example.northshore", StoreURL: "https://apps.north-shore.example/android",
			Fingerprints: []string{strings.Repeat("DE:", 31) + "AD"},
		},
	}},
	{slug: "river-valley", name: "River Valley Public Health", region: "XB-RV"},
}

// sandbox is where the first department tries things out and rehearses. No phones are
// sent through it.
var sandbox = department{slug: "north-shore-sandbox", name: "Sandbox of North Shore", region: "ZZ-NSH", kind: tenant.Sandbox}

// Spec is what the department would have filled in when signing up.
func (d department) spec(o Options) onboarding.Spec {
	return onboarding.Spec{
		Kind: d.kind, Slug: d.slug, Name: d.name, Region: d.region,
		HealthAuthorityID: "org." + d.slug + ".health",
		Issuer:            "health." + d.slug + ".example",
		Audience:          "exposure-notifications-server",
		ExportKeyID:       "demo_" + exportKeyPart(d.slug),
		ExportPeriod:      o.ExportPeriod,
		Truncate:          o.ExportPeriod,
		MinRecords:        1000, PaddingRange: 100,
		ReleaseSameDay: d.kind != tenant.Sandbox,
		SMSEnabled:     true,
		EmailEnabled:   true,
	}
}

// exportKeyPart keeps to the characters that both platforms take in a key ID.
func exportKeyPart(slug string) string {
	part := []byte(slug)
	for i, c := range part {
		if c == '-' {
			part[i] = '_'
		}
	}
	return string(part)
}

// staffRoles are the demo logins of every department: one for each role.
var staffRoles = []struct {
	role  authz.Role
	title string
}{
	{authz.Owner, "Owner"},
	{authz.Administrator, "Administrator"},
	{authz.Caseworker, "Caseworker"},
	{authz.KeyCustodian, "Key custodian"},
	{authz.Analyst, "Analyst"},
	{authz.Auditor, "Auditor"},
}

// login is a demo login of a department's staff.
type login struct {
	Login string   `json:"login"`
	Name  string   `json:"name"`
	Email string   `json:"email"`
	Roles []string `json:"roles"`
}

func (d department) staff() []login {
	staff := make([]login, 0, len(staffRoles))
	for _, s := range staffRoles {
		staff = append(staff, login{
			Login: string(s.role) + "@" + d.slug,
			Name:  s.title + ", " + d.name,
			Email: string(s.role) + "@" + d.slug + ".example",
			Roles: []string{string(s.role)},
		})
	}
	return staff
}

// operators run the demo platform.
var operators = []platform.Operator{
	{Email: "operator@platform.example", Name: "Operator of the platform", Role: authz.Operator},
	{Email: "support@platform.example", Name: "Support of the platform", Role: authz.Support},
}

// people are all who can sign in at the development provider.
func people() []devidp.Person {
	var all []devidp.Person
	for _, o := range operators {
		all = append(all, devidp.Person{Login: string(o.Role) + "@platform", Name: o.Name, Email: o.Email})
	}
	all = append(all, devidp.Person{Login: "applicant@lakeland", Name: "Applicant of Lakeland", Email: "applicant@health.lakeland.example"})
	for _, d := range append(slices.Clone(departments), sandbox) {
		for _, s := range d.staff() {
			all = append(all, devidp.Person{Login: s.Login, Name: s.Name, Email: s.Email})
		}
	}
	return append(all, newcomer)
}

// newcomer is on nobody's staff yet, for invitations.
var newcomer = devidp.Person{Login: "newcomer", Name: "Noa Newcomer", Email: "noa@newcomer.example"}
