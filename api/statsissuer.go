package api

import (
	"time"

	"github.com/gin-gonic/gin"

	"carillon/tenant/stats"
)

// issuerGroup is a day of a report that lists several issuers.
type issuerGroup[T any] struct {
	Date time.Time `json:"date"`
	Data []T       `json:"issuer_data"`
}

type userData struct {
	ID          int64  `json:"user_id"`
	Name        string `json:"name"`
	Email       string `json:"email"`
	CodesIssued int64  `json:"codes_issued"`
}

type externalData struct {
	ID          string `json:"issuer_id"`
	CodesIssued int64  `json:"codes_issued"`
}

// grouped makes the list of days from rows that are sorted by day.
func grouped[T any](days []stats.IssuerDay, data func(stats.IssuerDay) T) []issuerGroup[T] {
	var list []issuerGroup[T]
	for _, d := range days {
		if n := len(list); n == 0 || !list[n-1].Date.Equal(d.Day) {
			list = append(list, issuerGroup[T]{Date: d.Day})
		}
		last := &list[len(list)-1]
		last.Data = append(last.Data, data(d))
	}
	return list
}

func (s *Server) usersReport(c *gin.Context, _ string) (report, error) {
	t := of(c).tenant
	days, err := s.config.Stats.Users(c.Request.Context(), t)
	if err != nil {
		return report{}, err
	}
	r := report{header: "date,realm_id,user_id,name,email,codes_issued"}
	r.body = daily{t.Number, grouped(days, func(d stats.IssuerDay) userData {
		return userData{d.Number, d.Name, d.Email, d.CodesIssued}
	})}
	for _, d := range days {
		r.rows = append(r.rows, row(date(d.Day), texts(t.Number, d.Number), []string{d.Name, d.Email}, texts(d.CodesIssued)))
	}
	return r, nil
}

type issuedData struct {
	CodesIssued int64 `json:"codes_issued"`
}

func (s *Server) memberReport(c *gin.Context, id string) (report, error) {
	t := of(c).tenant
	who, days, err := s.config.Stats.User(c.Request.Context(), t, id)
	if err != nil {
		return report{}, err
	}
	r := report{header: "date,realm_id,user_id,user_name,user_email,codes_issued"}
	var list []dated[issuedData]
	for _, d := range days {
		list = append(list, dated[issuedData]{d.Day, issuedData{d.CodesIssued}})
		r.rows = append(r.rows, row(date(d.Day), texts(t.Number, who.Number), []string{who.Name, who.Email}, texts(d.CodesIssued)))
	}
	r.body = struct {
		Realm int64               `json:"realm_id"`
		ID    int64               `json:"user_id"`
		Name  string              `json:"user_name"`
		Email string              `json:"user_email"`
		Days  []dated[issuedData] `json:"statistics"`
	}{t.Number, who.Number, who.Name, who.Email, list}
	return r, nil
}

func (s *Server) externalReport(c *gin.Context, _ string) (report, error) {
	t := of(c).tenant
	days, err := s.config.Stats.ExternalIssuers(c.Request.Context(), t)
	if err != nil {
		return report{}, err
	}
	r := report{header: "date,realm_id,issuer_id,codes_issued"}
	r.body = daily{t.Number, grouped(days, func(d stats.IssuerDay) externalData {
		return externalData{d.ID, d.CodesIssued}
	})}
	for _, d := range days {
		r.rows = append(r.rows, row(date(d.Day), texts(t.Number), []string{d.ID}, texts(d.CodesIssued)))
	}
	return r, nil
}

type apiKeyData struct {
	CodesIssued   int64 `json:"codes_issued"`
	CodesClaimed  int64 `json:"codes_claimed"`
	CodesInvalid  int64 `json:"codes_invalid"`
	TokensClaimed int64 `json:"tokens_claimed"`
	TokensInvalid int64 `json:"tokens_invalid"`
}

func (s *Server) apiKeyReport(c *gin.Context, id string) (report, error) {
	key, days, err := s.config.Stats.APIKey(c.Request.Context(), of(c).tenant, id)
	if err != nil {
		return report{}, err
	}
	r := report{header: "date,authorized_app_id,authorized_app_name,authorized_app_type," +
		"codes_issued,codes_claimed,codes_invalid,tokens_claimed,tokens_invalid"}
	var list []dated[apiKeyData]
	for _, d := range days {
		list = append(list, dated[apiKeyData]{d.Day, apiKeyData{
			d.CodesIssued, d.CodesClaimed, d.CodesInvalid, d.TokensClaimed, d.TokensInvalid,
		}})
		r.rows = append(r.rows, row(date(d.Day), texts(key.Number), []string{key.Name, key.Kind},
			texts(d.CodesIssued, d.CodesClaimed, d.CodesInvalid, d.TokensClaimed, d.TokensInvalid)))
	}
	r.body = struct {
		ID   int64               `json:"authorized_app_id"`
		Name string              `json:"authorized_app_name"`
		Kind string              `json:"authorized_app_type"`
		Days []dated[apiKeyData] `json:"statistics"`
	}{key.Number, key.Name, key.Kind, list}
	return r, nil
}

type errorGroup struct {
	Date time.Time   `json:"date"`
	Data []errorData `json:"error_data"`
}

type errorData struct {
	Code     string `json:"error_code"`
	Quantity int64  `json:"quantity"`
}

func (s *Server) smsErrorReport(c *gin.Context, _ string) (report, error) {
	t := of(c).tenant
	days, err := s.config.Stats.SMSErrors(c.Request.Context(), t)
	if err != nil {
		return report{}, err
	}
	r := report{header: "date,realm_id,error_code,quantity"}
	var list []errorGroup
	for _, d := range days {
		if n := len(list); n == 0 || !list[n-1].Date.Equal(d.Day) {
			list = append(list, errorGroup{Date: d.Day})
		}
		last := &list[len(list)-1]
		last.Data = append(last.Data, errorData{d.Code, d.Quantity})
		r.rows = append(r.rows, row(date(d.Day), texts(t.Number), []string{d.Code}, texts(d.Quantity)))
	}
	r.body = daily{t.Number, list}
	return r, nil
}

// stageData is a step of the funnel. Delays has the classes of
// code_claim_age_distribution; it is left out where the delay is not known.
type stageData struct {
	Count  int64   `json:"count"`
	Delays []int64 `json:"delay_distribution,omitempty"`
}

type funnelData struct {
	Issued    stageData `json:"issued"`
	Sent      stageData `json:"sent"`
	Delivered stageData `json:"delivered"`
	Claimed   stageData `json:"claimed"`
	Token     stageData `json:"token"`
	Certified stageData `json:"certificate"`
	Published stageData `json:"published"`
	Exported  stageData `json:"exported_keys"`
}

const funnelHeader = "date,issued,sent,delivered,claimed,token,certificate,published,exported_keys," +
	"delivered_delay_distribution,claimed_delay_distribution,certificate_delay_distribution," +
	"published_delay_distribution,exported_delay_distribution"

func (s *Server) funnelReport(c *gin.Context, _ string) (report, error) {
	t := of(c).tenant
	days, err := s.config.Stats.Funnel(c.Request.Context(), t)
	if err != nil {
		return report{}, err
	}
	r := report{header: funnelHeader}
	var list []dated[funnelData]
	for _, d := range days {
		data := funnelData{
			stageData(d.Issued), stageData(d.Sent), stageData(d.Delivered), stageData(d.Claimed),
			stageData{Count: d.Claimed.Count}, // a claim and its token are one commit
			stageData(d.Certified), stageData(d.Published), stageData(d.Exported),
		}
		list = append(list, dated[funnelData]{d.Day, data})
		r.rows = append(r.rows, row(date(d.Day),
			texts(d.Issued.Count, d.Sent.Count, d.Delivered.Count, d.Claimed.Count, d.Claimed.Count,
				d.Certified.Count, d.Published.Count, d.Exported.Count),
			[]string{
				joined(d.Delivered.Delays), joined(d.Claimed.Delays), joined(d.Certified.Delays),
				joined(d.Published.Delays), joined(d.Exported.Delays),
			}))
	}
	r.body = daily{t.Number, list}
	return r, nil
}
