package adminui

import (
	"encoding/csv"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"carillon/authz"
	"carillon/tenant/client"
	"carillon/tenant/stats"
)

// apiKeyPage shows a key and what it did.
type apiKeyPage struct {
	Key      apiKeyView
	ID       string
	Created  moment
	Networks []string
	Phones   bool // a phone's key: nothing is said of networks
	// Paths to what she may do; empty for what she may not, or what makes no sense.
	Change, Rotate, Revoke, EndCodes, Audit string
	CSV, Back                               string
	Days                                    []apiKeyDay
}

// apiKeyDay is a day of a key's report.
type apiKeyDay struct {
	Day, Networks, Codes string
	Answers              []string
}

func (s *Server) showAPIKey(v *visit) (answer, error) {
	k, err := s.findAPIKey(v)
	if err != nil {
		return answer{}, err
	}
	uses, err := s.config.KeyUse.LastUses(v.r.Context(), v.tenant)
	if err != nil {
		return answer{}, err
	}
	days, err := s.config.KeyUse.KeyDays(v.r.Context(), v.tenant, k.ID)
	if err != nil {
		return answer{}, err
	}
	p := apiKeyPage{
		Key: s.apiKeyView(v, k, uses[k.ID]), ID: k.ID.String(), Created: s.words.moment(k.CreatedAt, v.anyDay()),
		Networks: k.Networks, Phones: k.Kind == client.Device,
		CSV: keyPath(v, k) + "/report", Back: v.path("/api-keys"),
	}
	s.offer(v, &p, k)
	for _, d := range days {
		p.Days = append(p.Days, s.apiKeyDay(d))
	}
	return answer{page: "apikey", heading: s.words.text("apikey.one.heading", "name", s.apiKeyName(k)), data: p}, nil
}

// offer adds the ways to what the person may do about the key.
func (s *Server) offer(v *visit, p *apiKeyPage, k client.Key) {
	write, good := v.may(authz.APIKeyWrite), k.Accepted(s.config.Now())
	if write && good {
		p.Change = keyPath(v, k) + "/change"
	}
	if write && good && !k.Followed {
		p.Rotate = keyPath(v, k) + "/rotate"
	}
	if write && k.RevokedAt == nil {
		p.Revoke = keyPath(v, k) + "/revoke"
	}
	if k.Kind == client.Admin && write && v.may(authz.CodeExpire) {
		p.EndCodes = keyPath(v, k) + "/codes"
	}
	if v.may(authz.AuditRead) {
		p.Audit = v.path("/audit?" + url.Values{fieldWho: {k.ID.String()}}.Encode())
	}
}

func (s *Server) apiKeyDay(d stats.KeyDay) apiKeyDay {
	day := apiKeyDay{Day: s.words.date(d.Day), Networks: s.words.number(d.Networks), Codes: strconv.FormatInt(d.CodesIssued, 10)}
	for _, a := range d.Answers {
		day.Answers = append(day.Answers, s.words.text("apikey.report.answer",
			"n", strconv.FormatInt(a.Requests, 10), "action", a.Action, "answer", s.words.answered(a.Status), "status", s.words.number(a.Status)))
	}
	for _, why := range []string{client.Outside, string(client.Expired), string(client.Revoked)} {
		if n := d.Refused[why]; n > 0 {
			day.Answers = append(day.Answers, s.words.text("apikey.report.refused", "n", strconv.FormatInt(n, 10), "why", s.words.refused(why)))
		}
	}
	return day
}

// answered says what an HTTP status means to whoever asked.
func (c *catalogue) answered(status int) string {
	switch {
	case status < 300:
		return c.text("apikey.answer.ok")
	case status == 401 || status == 403:
		return c.text("apikey.answer.refused")
	case status == 429:
		return c.text("apikey.answer.limited")
	case status < 500:
		return c.text("apikey.answer.mistake")
	}
	return c.text("apikey.answer.fault")
}

func (c *catalogue) refused(why string) string {
	switch why {
	case client.Outside:
		return c.text("apikey.refused.outside")
	case string(client.Expired):
		return c.text("apikey.refused.expired")
	}
	return c.text("apikey.refused.revoked")
}

// exportAPIKey sends the report as a file. Nothing in it was typed by anybody, so that no
// program takes it for a formula.
func (s *Server) exportAPIKey(v *visit) (answer, error) {
	k, err := s.findAPIKey(v)
	if err != nil {
		return answer{}, err
	}
	days, err := s.config.KeyUse.KeyDays(v.r.Context(), v.tenant, k.ID)
	if err != nil {
		return answer{}, err
	}
	return answer{download: &download{
		name: fmt.Sprintf("api-key-%s-%s.csv", k.ID, s.config.Now().UTC().Format("20060102")), kind: "text/csv; charset=utf-8",
		write: func(to io.Writer) error { return writeKeyDays(to, days) },
	}}, nil
}

func writeKeyDays(to io.Writer, days []stats.KeyDay) error {
	w := csv.NewWriter(to)
	w.UseCRLF = true
	lines := [][]string{{"day", "what", "action", "status", "count"}}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, d := range days {
		day := d.Day.Format(time.DateOnly)
		for _, a := range d.Answers {
			lines = append(lines, []string{day, "answered", a.Action, strconv.Itoa(a.Status), number(a.Requests)})
		}
		for _, why := range []string{client.Outside, string(client.Expired), string(client.Revoked)} {
			if n := d.Refused[why]; n > 0 {
				lines = append(lines, []string{day, "refused: " + why, "", "401", number(n)})
			}
		}
		lines = append(lines, []string{day, "codes issued", "", "", number(d.CodesIssued)}, []string{day, "networks, about", "", "", strconv.Itoa(d.Networks)})
	}
	return w.WriteAll(lines)
}
