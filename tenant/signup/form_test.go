package signup_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"carillon/tenant/signup"
)

// deaf is a DNS that does not answer in time.
type deaf struct{}

func (deaf) LookupTXT(_ context.Context, name string) ([]string, error) {
	return nil, &net.DNSError{Err: "i/o timeout", Name: name, IsTimeout: true}
}

// Nothing of what was typed is lost, and each field says what is wrong with it.
func TestHostileForms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, c := range map[string]struct {
		change func(*signup.Form)
		want   signup.Problem
	}{
		"no name":            {func(f *signup.Form) { f.Name = " " }, signup.Problem{Field: signup.FieldName, Fault: signup.Missing}},
		"long name":          {func(f *signup.Form) { f.Name = strings.Repeat("n", 121) }, signup.Problem{Field: signup.FieldName, Fault: signup.Long}},
		"turned around":      {func(f *signup.Form) { f.Name = "Lakeland\u202eevil" }, signup.Problem{Field: signup.FieldName, Fault: signup.Hidden}},
		"isolated":           {func(f *signup.Form) { f.Name = "Lake\u2066land" }, signup.Problem{Field: signup.FieldName, Fault: signup.Hidden}},
		"zero width":         {func(f *signup.Form) { f.Name = "Lake\u200bland" }, signup.Problem{Field: signup.FieldName, Fault: signup.Hidden}},
		"joiner":             {func(f *signup.Form) { f.Name = "Lake\u200dland" }, signup.Problem{Field: signup.FieldName, Fault: signup.Hidden}},
		"byte order mark":    {func(f *signup.Form) { f.Name = "Lake\ufeffland" }, signup.Problem{Field: signup.FieldName, Fault: signup.Hidden}},
		"other space":        {func(f *signup.Form) { f.Name = "Lake\u00a0land" }, signup.Problem{Field: signup.FieldName, Fault: signup.Hidden}},
		"filler":             {func(f *signup.Form) { f.Name = "Lake\u3164land" }, signup.Problem{Field: signup.FieldName, Fault: signup.Hidden}},
		"tag":                {func(f *signup.Form) { f.Name = "Lake\U000e0041land" }, signup.Problem{Field: signup.FieldName, Fault: signup.Hidden}},
		"nul":                {func(f *signup.Form) { f.Name = "Lake\x00land" }, signup.Problem{Field: signup.FieldName, Fault: signup.Hidden}},
		"new line":           {func(f *signup.Form) { f.Name = "Lake\nland" }, signup.Problem{Field: signup.FieldName, Fault: signup.Hidden}},
		"bad UTF-8":          {func(f *signup.Form) { f.Name = "Lake\xffland" }, signup.Problem{Field: signup.FieldName, Fault: signup.Hidden}},
		"heap of marks":      {func(f *signup.Form) { f.Name = "La\u0301\u0302\u0303\u0304\u0306\u0307ke" }, signup.Problem{Field: signup.FieldName, Fault: signup.Hidden}},
		"formula":            {func(f *signup.Form) { f.Name = "=HYPERLINK(1)" }, signup.Problem{Field: signup.FieldName, Fault: signup.Start}},
		"formula by at":      {func(f *signup.Form) { f.ContactName = "@SUM(A1)" }, signup.Problem{Field: signup.FieldContactName, Fault: signup.Start}},
		"no region":          {func(f *signup.Form) { f.Region = "" }, signup.Problem{Field: signup.FieldRegion, Fault: signup.Missing}},
		"region of nobody":   {func(f *signup.Form) { f.Region = "QX-1" }, signup.Problem{Field: signup.FieldRegion, Fault: signup.Malformed}},
		"sandbox's region":   {func(f *signup.Form) { f.Region = "ZZ-ABC" }, signup.Problem{Field: signup.FieldRegion, Fault: signup.Malformed}},
		"long region":        {func(f *signup.Form) { f.Region = strings.Repeat("U", 3000) }, signup.Problem{Field: signup.FieldRegion, Fault: signup.Malformed}},
		"public suffix":      {func(f *signup.Form) { f.Domain = "co.uk" }, signup.Problem{Field: signup.FieldDomain, Fault: signup.Suffix}},
		"hosted suffix":      {func(f *signup.Form) { f.Domain = "github.io" }, signup.Problem{Field: signup.FieldDomain, Fault: signup.Suffix}},
		"single label":       {func(f *signup.Form) { f.Domain = "localhost" }, signup.Problem{Field: signup.FieldDomain, Fault: signup.Malformed}},
		"address":            {func(f *signup.Form) { f.Domain = "127.0.0.1" }, signup.Problem{Field: signup.FieldDomain, Fault: signup.Malformed}},
		"IPv6":               {func(f *signup.Form) { f.Domain = "[::1]" }, signup.Problem{Field: signup.FieldDomain, Fault: signup.Malformed}},
		"number":             {func(f *signup.Form) { f.Domain = "http://2130706433/" }, signup.Problem{Field: signup.FieldDomain, Fault: signup.Malformed}},
		"port":               {func(f *signup.Form) { f.Domain = "health.example:53" }, signup.Problem{Field: signup.FieldDomain, Fault: signup.Malformed}},
		"user":               {func(f *signup.Form) { f.Domain = "https://health.gov@evil.example/" }, signup.Problem{Field: signup.FieldDomain, Fault: signup.Malformed}},
		"other scheme":       {func(f *signup.Form) { f.Domain = "file://health.example/" }, signup.Problem{Field: signup.FieldDomain, Fault: signup.Malformed}},
		"inside":             {func(f *signup.Form) { f.Domain = "metadata.google.internal" }, signup.Problem{Field: signup.FieldDomain, Fault: signup.Malformed}},
		"bad punycode":       {func(f *signup.Form) { f.Domain = "xn--a.example" }, signup.Problem{Field: signup.FieldDomain, Fault: signup.Malformed}},
		"underscore":         {func(f *signup.Form) { f.Domain = "_dmarc.example.gov" }, signup.Problem{Field: signup.FieldDomain, Fault: signup.Malformed}},
		"hidden in domain":   {func(f *signup.Form) { f.Domain = "health\u200b.example" }, signup.Problem{Field: signup.FieldDomain, Fault: signup.Hidden}},
		"long label":         {func(f *signup.Form) { f.Domain = strings.Repeat("a", 64) + ".example" }, signup.Problem{Field: signup.FieldDomain, Fault: signup.Malformed}},
		"contact's address":  {func(f *signup.Form) { f.ContactEmail = "a@b@c" }, signup.Problem{Field: signup.FieldContactEmail, Fault: signup.Malformed}},
		"telephone":          {func(f *signup.Form) { f.ContactPhone = "=cmd|calc" }, signup.Problem{Field: signup.FieldContactPhone, Fault: signup.Malformed}},
		"language":           {func(f *signup.Form) { f.Languages = "en, klingonese-x" }, signup.Problem{Field: signup.FieldLanguages, Fault: signup.Malformed}},
		"no codes":           {func(f *signup.Form) { f.Codes = "0" }, signup.Problem{Field: signup.FieldCodes, Fault: signup.Malformed}},
		"too many codes":     {func(f *signup.Form) { f.Codes = "20001" }, signup.Problem{Field: signup.FieldCodes, Fault: signup.Malformed}},
		"codes that overrun": {func(f *signup.Form) { f.Codes = "99999999999999999999" }, signup.Problem{Field: signup.FieldCodes, Fault: signup.Malformed}},
		"negative codes":     {func(f *signup.Form) { f.Codes = "-5" }, signup.Problem{Field: signup.FieldCodes, Fault: signup.Malformed}},
	} {
		var wrong *signup.FormError
		err := w.Submit(t.Context(), ada, form(c.change))
		if !errors.As(err, &wrong) || len(wrong.Problems) != 1 || wrong.Problems[0] != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	typed := form(func(f *signup.Form) { f.Name, f.Codes = "=1+1", "many" })
	var wrong *signup.FormError
	if err := w.Submit(t.Context(), ada, typed); !errors.As(err, &wrong) || len(wrong.Problems) != 2 {
		t.Errorf("two faults: %v", err)
	}
	if a := w.mine(ada); a.State != signup.Draft || a.Form != typed {
		t.Errorf("what was typed is lost: %+v", a)
	}
	for name, change := range map[string]func(*signup.Form){
		"other scripts": func(f *signup.Form) { f.Name = "保健省" },
		"joined script": func(f *signup.Form) { f.Name = "وزارت می\u200cرود" },
		"decomposed":    func(f *signup.Form) { f.Name = "Sante\u0301 publique" },
		"IDN":           func(f *signup.Form) { f.Domain = "Gesundheit.München.example" },
		"country":       func(f *signup.Form) { f.Region = "ie" },
	} {
		if err := w.Submit(t.Context(), ada, form(change)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A domain is kept as the DNS has it, and both forms are shown to the operator, with what
// deceives the eye.
func TestHomographs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// The second letter of each is Cyrillic.
	a := w.proven(eve, form(func(f *signup.Form) { f.Name, f.Domain = "Lаkeland Department of Heаlth", "hеalth.example" }))
	if a.Details.Domain != "xn--halth-zwe.example" {
		t.Errorf("domain %q", a.Details.Domain)
	}
	review, err := w.Read(t.Context(), a.ID)
	w.must(err)
	for _, want := range []signup.Warning{
		{Concern: signup.MixedScripts, About: "Lаkeland"},
		{Concern: signup.MixedScripts, About: "hеalth"},
		{Concern: signup.Foreign, About: "hеalth.example"},
		{Concern: signup.OtherMail, About: eve.Email},
	} {
		if !contains(review.Warnings, want) {
			t.Errorf("warnings %v, want %v among them", review.Warnings, want)
		}
	}
	if again := w.proven(ada, form()); again.Details == nil {
		t.Fatal("no details")
	}
	review, err = w.Read(t.Context(), w.mine(ada).ID)
	w.must(err)
	if !contains(review.Warnings, signup.Warning{Concern: signup.NameAlike, About: "Lаkeland Department of Heаlth"}) ||
		!contains(review.Warnings, signup.Warning{Concern: signup.RegionSought, About: "Lаkeland Department of Heаlth"}) {
		t.Errorf("warnings %v lack the other application", review.Warnings)
	}
}
