package report

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"carillon/authz"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/reportpage"
	"carillon/tenant/verification"
)

// The names of form fields (§5.2), which are also their IDs.
const (
	fieldDate      = "testDate"
	fieldPhone     = "phone"
	fieldAgreement = "agreement"
	fieldOffset    = "tz_offset"
	fieldLanguage  = "lang"
	fieldTranslate = "translate" // the button that shows the form in another language
)

// input is the form as it was sent.
type input struct {
	Date, Phone string
	Agreed      bool
	// Offset is the browser's distance from UTC in minutes, 0 without scripts.
	Offset float64
	// Language is the one that was chosen before; Translate the one that is asked for now,
	// empty if the form is meant.
	Language, Translate string
}

// problem is something that the person can put right. Field is the ID of where; empty
// if it is nowhere in particular. Key names its words.
type problem struct{ Field, Key string }

// open answers a phone that opens the page: the form, and a sealed cookie.
func (s *Server) open(ctx context.Context, v *visit) answer {
	found, err := s.admit(ctx, v)
	switch {
	case errors.Is(err, client.ErrUnknownKey), errors.Is(err, authz.ErrForbidden), errors.Is(err, tenant.ErrUnknown):
		return closed(http.StatusUnauthorized, "closed.app")
	case err != nil:
		return failed(err)
	case !found:
		return closed(http.StatusNotFound, "closed.missing")
	}
	text := strings.TrimSpace(v.r.Header.Get("X-Nonce"))
	if text == "" { // the phone's way to say that it has asked too often
		return closed(http.StatusOK, "closed.often")
	}
	nonce, err := certificate.ParseBase64(text)
	if err != nil || len(nonce) != verification.NonceSize {
		return closed(http.StatusOK, "closed.invalid")
	}
	sealed, err := s.config.Pages.Seal(ctx, reportpage.Visit{
		Tenant: v.tenant.ID, Nonce: nonce, Expires: s.config.Now().Add(reportpage.VisitLife).UTC().Truncate(time.Second),
	})
	if err != nil {
		return failed(err)
	}
	a := s.form(v, input{}, nil)
	a.cookie = &sealed
	return a
}

// admit finds out whose the device key is, and whether it may report.
func (s *Server) admit(ctx context.Context, v *visit) (found bool, err error) {
	key := v.r.Header.Get("X-API-Key")
	id, err := s.config.Apps.Owner(ctx, key)
	if err != nil {
		return false, err
	}
	found, err = s.enter(ctx, v, id)
	if err != nil || !found {
		return false, err
	}
	by, err := s.config.Apps.Authenticate(ctx, v.tenant, client.Device, key, s.caller(v.r))
	if err != nil {
		return false, err
	}
	return true, s.config.Policies.Check(ctx, id.String(), by, authz.DeviceReport)
}

// page is who reports when a form is sent: the browser has no device key to show, but
// a cookie that one has opened.
var page = authz.Subject{Kind: authz.APIKey, ID: "report-page", Name: "Hosted report page", Roles: []authz.Role{authz.KeyDevice}}

// issue answers the form.
func (s *Server) issue(ctx context.Context, v *visit) answer {
	if err := http.NewCrossOriginProtection().Check(v.r); err != nil {
		return closed(http.StatusUnauthorized, "closed.app")
	}
	in, err := readInput(v.r)
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return closed(http.StatusRequestEntityTooLarge, "closed.form")
	case err != nil:
		return closed(http.StatusUnprocessableEntity, "closed.form")
	}
	v.language = cmp.Or(in.Translate, in.Language)
	opened, err := s.opened(ctx, v.r)
	if errors.Is(err, reportpage.ErrVisit) {
		return closed(http.StatusNotFound, "closed.ended")
	}
	if err != nil {
		return failed(err)
	}
	found, err := s.enter(ctx, v, opened.Tenant)
	switch {
	case err != nil && !errors.Is(err, tenant.ErrUnknown):
		return failed(err)
	case !found:
		return closed(http.StatusNotFound, "closed.missing")
	case in.Translate != "":
		return s.form(v, in, nil)
	case !in.Agreed:
		return s.form(v, in, &problem{fieldAgreement, "problem.agreement"})
	}
	_, err = s.config.Codes.Report(ctx, v.tenant, page, verification.ReportRequest{
		Nonce: base64.StdEncoding.EncodeToString(opened.Nonce), Phone: in.Phone, TestDate: in.Date, TZOffset: in.Offset,
	})
	return s.outcome(v, in, err)
}

func (s *Server) opened(ctx context.Context, r *http.Request) (reportpage.Visit, error) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return reportpage.Visit{}, reportpage.ErrVisit
	}
	return s.config.Pages.Open(ctx, c.Value, s.config.Now())
}

// problems is the one table from the domain's errors to what the person can do. What
// is not in it ends the visit.
func problems() map[error]problem {
	return map[error]problem{
		verification.ErrMissingDate:  {fieldDate, "problem.no_date"},
		verification.ErrInvalidDate:  {fieldDate, "problem.date"},
		verification.ErrUnparsable:   {fieldDate, "problem.date"},
		verification.ErrMissingPhone: {fieldPhone, "problem.no_phone"},
		verification.ErrPhoneInvalid: {fieldPhone, "problem.phone"},
		verification.ErrSMSFailed:    {fieldPhone, "problem.sms"},
		verification.ErrSMSQueueFull: {"", "problem.busy"},
		verification.ErrQuota:        {"", "problem.quota"},
		verification.ErrMaintenance:  {"", "problem.maintenance"},
	}
}

// outcome is the page after the form: the end of the visit, or the form again.
func (s *Server) outcome(v *visit, in input, err error) answer {
	if err == nil {
		a := answer{status: http.StatusOK, page: "sent", heading: "sent.heading", forget: true}
		a.data = sentPage{Text: v.own(s.press.words.of(v)).Success, Close: closes(v.r.UserAgent())}
		return a
	}
	for kind, p := range problems() {
		if errors.Is(err, kind) {
			return s.form(v, in, &p)
		}
	}
	if slices.ContainsFunc(verification.Sentinels(), func(known error) bool { return errors.Is(err, known) }) {
		a := closed(http.StatusOK, "closed.refused")
		a.err = err
		return a
	}
	return failed(err)
}

// closes tells systems whose sheet the page closes itself (§5.2).
func closes(userAgent string) bool {
	userAgent = strings.ToLower(userAgent)
	return strings.Contains(userAgent, "iphone") || strings.Contains(userAgent, "darwin")
}

func readInput(r *http.Request) (input, error) {
	if err := r.ParseForm(); err != nil {
		return input{}, err
	}
	value := func(name string) string {
		return strings.TrimSpace(strings.ToValidUTF8(r.PostForm.Get(name), "\ufffd")) // the page shows it again
	}
	in := input{
		Date: value(fieldDate), Phone: value(fieldPhone), Agreed: value(fieldAgreement) == "true",
		Language: value(fieldLanguage), Translate: value(fieldTranslate),
	}
	if offset, err := strconv.ParseFloat(value(fieldOffset), 64); err == nil {
		in.Offset = offset
	}
	return in, nil
}

const pastDays = 28

// form shows the form, with what is wrong with it.
func (s *Server) form(v *visit, in input, p *problem) answer {
	today, own := s.config.Now().UTC(), v.own(s.press.words.of(v))
	data := formPage{
		Action: issuePath, In: in, Intro: own.Intro, DateLabel: own.Date, PhoneLabel: own.Phone,
		Min: today.AddDate(0, 0, -pastDays).Format(time.DateOnly), Max: today.Format(time.DateOnly),
		DateRequired: v.tenant.Settings.RequireDate, Lang: v.language, Errors: map[string]string{},
	}
	a := answer{
		status: http.StatusOK, page: "form", heading: "form.heading", data: data,
		inLanguage: func(string) string { return "" },
	}
	if p != nil {
		a.problems = []problem{*p}
		data.Errors[p.Field] = p.Key
	}
	return a
}
