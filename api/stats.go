package api

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"carillon/authz"
	"carillon/tenant/stats"
)

// report is a statistic in both of its forms (§8.1). Without rows it is empty in both.
type report struct {
	body   any
	empty  any // what JSON has instead; nil is {}
	header string
	rows   [][]string
}

// reporter makes a report for the tenant of a request. id is the member or key that
// the path names, if it names one.
type reporter func(c *gin.Context, id string) (report, error)

// serveReport answers with the form that the path's last element ends in. The file of
// a table is called name and the time.
func (s *Server) serveReport(name string, make reporter) gin.HandlerFunc {
	return func(c *gin.Context) {
		file := c.Request.URL.Path[strings.LastIndexByte(c.Request.URL.Path, '/')+1:]
		id, asTable := strings.CutSuffix(file, ".csv")
		if !asTable {
			var asJSON bool
			if id, asJSON = strings.CutSuffix(file, ".json"); !asJSON {
				pageNotFound(c)
				return
			}
		}
		r, err := make(c, id)
		if err != nil {
			s.refuseReport(c, err)
			return
		}
		c.Header("Cache-Control", "no-store") // it may have names of people
		if !asTable {
			s.sendReport(c, r)
			return
		}
		stamp := s.config.Now().UTC().Format("20060102150405")
		c.Header("Content-Disposition", "attachment;filename="+stamp+"-"+name+".csv")
		send(c, http.StatusOK, "text/csv", r.table())
	}
}

// statsRoutes has each report in its two forms; what ends in a parameter has both under
// one pattern.
func (s *Server) statsRoutes() []route {
	var list []route
	add := func(path string, h gin.HandlerFunc) {
		list = append(list, route{
			Route: authz.Route{
				Method: http.MethodGet, Path: tenantPath + "/api/stats/" + path,
				Audience: authz.AudienceBackend, Credential: authz.CredentialStatsKey, Action: authz.StatsRead,
				Limit: perCaller, Padding: authz.PaddingNone, TenantFrom: authz.TenantFromURL,
			},
			handle: h,
		})
	}
	for _, r := range []struct {
		path, name string
		make       reporter
	}{
		{"realm", "realm-stats", s.realmReport},
		{"realm/composite", "composite-stats", s.compositeReport},
		{"realm/users", "user-stats", s.usersReport},
		{"realm/external-issuers", "external-issuer-stats", s.externalReport},
		{"realm/sms-errors", "sms-error-stats", s.smsErrorReport},
		{"realm/key-server", "key-server-stats", s.keyServerReport},
		{"funnel", "funnel", s.funnelReport},
	} {
		h := s.serveReport(r.name, r.make)
		add(r.path+".json", h)
		add(r.path+".csv", h)
	}
	add("realm/users/:file", s.serveReport("user-stats", s.memberReport))
	add("realm/api-keys/:file", s.serveReport("api-key-stats", s.apiKeyReport))
	return list
}

func (s *Server) refuseReport(c *gin.Context, err error) {
	if _, known := statsAnswers().find(err); !known {
		s.fail(c, err)
		return
	}
	unauthorized(c)
}

func (s *Server) sendReport(c *gin.Context, r report) {
	switch {
	case len(r.rows) > 0:
		s.sendJSON(c, http.StatusOK, r.body)
	case r.empty != nil:
		s.sendJSON(c, http.StatusOK, r.empty)
	default:
		s.sendJSON(c, http.StatusOK, struct{}{})
	}
}

// table is the report's CSV.
func (r report) table() []byte {
	if len(r.rows) == 0 {
		return nil
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(strings.Split(r.header, ",")) // a buffer takes everything
	for _, row := range r.rows {
		_ = w.Write(harmless(row))
	}
	w.Flush()
	return b.Bytes()
}

// harmless is a row in which no cell begins as what spreadsheets take for a formula:
// names and IDs are other people's, and a program may open the table. Such a cell gets
// an apostrophe before it, which spreadsheets take for the mark of a text.
func harmless(row []string) []string {
	for i, cell := range row {
		if cell != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(cell)[0]) {
			row[i] = "'" + cell
		}
	}
	return row
}

// daily is the frame of most reports.
type daily struct {
	Realm int64 `json:"realm_id"`
	Days  any   `json:"statistics"`
}

type dated[T any] struct {
	Date time.Time `json:"date"`
	Data T         `json:"data"`
}

func date(t time.Time) string { return t.Format(time.DateOnly) }

func texts(numbers ...int64) []string {
	list := make([]string, len(numbers))
	for i, n := range numbers {
		list[i] = strconv.FormatInt(n, 10)
	}
	return list
}

// joined is a distribution in a table.
func joined(distribution []int64) string { return strings.Join(texts(distribution...), "|") }

type issuedPlatforms struct {
	Unknown int64 `json:"unknown_os"`
	IOS     int64 `json:"ios"`
	Android int64 `json:"android"`
}

// realmData is a day of the realm (§8.2).
type realmData struct {
	CodesIssued             int64           `json:"codes_issued"`
	CodesClaimed            int64           `json:"codes_claimed"`
	CodesInvalid            int64           `json:"codes_invalid"`
	CodesInvalidByOS        issuedPlatforms `json:"codes_invalid_by_os"`
	UserReportsIssued       int64           `json:"user_reports_issued"`
	UserReportsClaimed      int64           `json:"user_reports_claimed"`
	NoncesInvalid           int64           `json:"user_reports_invalid_nonce"`
	NoncesInvalidByOS       issuedPlatforms `json:"user_reports_invalid_nonce_by_os"`
	TokensClaimed           int64           `json:"tokens_claimed"`
	TokensInvalid           int64           `json:"tokens_invalid"`
	UserReportTokensClaimed int64           `json:"user_report_tokens_claimed"`
	MeanClaimAge            int64           `json:"code_claim_mean_age_seconds"`
	ClaimAges               []int64         `json:"code_claim_age_distribution"`
}

func newRealmData(d stats.RealmDay) realmData {
	ages := d.ClaimAges
	if ages == nil {
		ages = []int64{}
	}
	return realmData{
		CodesIssued: d.CodesIssued, CodesClaimed: d.CodesClaimed,
		CodesInvalid: d.CodesInvalid.Total(), CodesInvalidByOS: issuedPlatforms(d.CodesInvalid),
		UserReportsIssued: d.UserReportsIssued, UserReportsClaimed: d.UserReportsClaimed,
		NoncesInvalid: d.NoncesInvalid.Total(), NoncesInvalidByOS: issuedPlatforms(d.NoncesInvalid),
		TokensClaimed: d.TokensClaimed, TokensInvalid: d.TokensInvalid, UserReportTokensClaimed: d.UserReportTokensClaimed,
		MeanClaimAge: int64(d.MeanClaimAge.Seconds()), ClaimAges: ages,
	}
}

const realmHeader = "date,codes_issued,codes_claimed,codes_invalid,tokens_claimed,tokens_invalid," +
	"code_claim_mean_age_seconds,code_claim_age_distribution," +
	"user_reports_issued,user_reports_claimed,user_report_tokens_claimed," +
	"codes_invalid_unknown_os,codes_invalid_ios,codes_invalid_android,user_reports_invalid_nonce," +
	"user_report_invalid_nonce_unknown_os,user_report_invalid_nonce_ios,user_report_invalid_nonce_android"

// head and tail are the columns of a realm's day, between which the composite has more.
func (d realmData) head() []string {
	return append(texts(d.CodesIssued, d.CodesClaimed, d.CodesInvalid, d.TokensClaimed, d.TokensInvalid, d.MeanClaimAge), joined(d.ClaimAges))
}

func (d realmData) tail() []string {
	return texts(d.UserReportsIssued, d.UserReportsClaimed, d.UserReportTokensClaimed,
		d.CodesInvalidByOS.Unknown, d.CodesInvalidByOS.IOS, d.CodesInvalidByOS.Android,
		d.NoncesInvalid, d.NoncesInvalidByOS.Unknown, d.NoncesInvalidByOS.IOS, d.NoncesInvalidByOS.Android)
}

func row(first string, parts ...[]string) []string {
	row := []string{first}
	for _, p := range parts {
		row = append(row, p...)
	}
	return row
}

func (s *Server) realmReport(c *gin.Context, _ string) (report, error) {
	t := of(c).tenant
	days, err := s.config.Stats.Realm(c.Request.Context(), t)
	if err != nil {
		return report{}, err
	}
	r := report{header: realmHeader}
	list := make([]dated[realmData], len(days))
	for i, d := range days {
		list[i] = dated[realmData]{d.Day, newRealmData(d)}
		r.rows = append(r.rows, row(date(d.Day), list[i].Data.head(), list[i].Data.tail()))
	}
	r.body = daily{t.Number, list}
	return r, nil
}

type uploadPlatforms struct {
	Unknown int64 `json:"unknown"`
	Android int64 `json:"android"`
	IOS     int64 `json:"ios"`
}

// uploadDay is a day of the key server, as the key server protocol §9 has it too.
type uploadDay struct {
	Day          time.Time       `json:"day"`
	Requests     uploadPlatforms `json:"publish_requests"`
	Keys         int64           `json:"total_teks_published"`
	Revisions    int64           `json:"requests_with_revisions"`
	KeyAges      []int64         `json:"tek_age_distribution"`
	OnsetAges    []int64         `json:"onset_to_upload_distribution"`
	MissingOnset int64           `json:"requests_missing_onset_date"`
}

func newUploadDays(days []stats.UploadDay) []uploadDay {
	list := make([]uploadDay, len(days))
	for i, d := range days {
		list[i] = uploadDay{
			Day:      d.Day,
			Requests: uploadPlatforms{Unknown: d.Requests.Unknown, Android: d.Requests.Android, IOS: d.Requests.IOS},
			Keys:     d.Keys, Revisions: d.Revisions, KeyAges: d.KeyAges, OnsetAges: d.OnsetAges, MissingOnset: d.MissingOnset,
		}
	}
	return list
}

const uploadHeader = "day,publish_requests_unknown,publish_requests_android,publish_requests_ios,total_teks_published," +
	"requests_with_revisions,requests_missing_onset_date,tek_age_distribution,onset_to_upload_distribution"

func (d uploadDay) columns() []string {
	numbers := texts(d.Requests.Unknown, d.Requests.Android, d.Requests.IOS, d.Keys, d.Revisions, d.MissingOnset)
	return append(numbers, joined(d.KeyAges), joined(d.OnsetAges))
}

func (s *Server) keyServerReport(c *gin.Context, _ string) (report, error) {
	days, err := s.config.Stats.Uploads(c.Request.Context(), of(c).tenant)
	if err != nil {
		return report{}, err
	}
	list := newUploadDays(days)
	r := report{body: list, empty: []uploadDay{}, header: uploadHeader}
	for _, d := range list {
		r.rows = append(r.rows, row(date(d.Day), d.columns()))
	}
	return r, nil
}

// compositeData has the members of both halves. Its day is that of the format, which
// says nothing; date does.
type compositeData struct {
	realmData
	uploadDay
	TotalRequests int64 `json:"total_publish_requests"`
}

const compositeHeader = "date,codes_issued,codes_claimed,codes_invalid,tokens_claimed,tokens_invalid," +
	"code_claim_mean_age_seconds,code_claim_age_distribution," +
	"publish_requests_unknown,publish_requests_android,publish_requests_ios,total_teks_published," +
	"requests_with_revisions,requests_missing_onset_date,tek_age_distribution,onset_to_upload_distribution," +
	"user_reports_issued,user_reports_claimed,user_report_tokens_claimed," +
	"codes_invalid_unknown_os,codes_invalid_ios,codes_invalid_android,user_reports_invalid_nonce," +
	"user_reports_invalid_nonce_unknown_os,user_reports_invalid_nonce_ios,user_reports_invalid_nonce_android"

// compositeReport leaves out the oldest days up to the first on which anything
// happened (§8.3).
func (s *Server) compositeReport(c *gin.Context, _ string) (report, error) {
	t, ctx := of(c).tenant, c.Request.Context()
	realm, err := s.config.Stats.Realm(ctx, t)
	if err != nil {
		return report{}, err
	}
	uploaded, err := s.config.Stats.Uploads(ctx, t)
	if err != nil {
		return report{}, err
	}
	keys := map[time.Time]uploadDay{}
	for _, d := range newUploadDays(uploaded) {
		keys[d.Day] = d
	}
	for len(realm) > 0 {
		last := realm[len(realm)-1]
		if _, busy := keys[last.Day]; busy || !last.Empty() {
			break
		}
		realm = realm[:len(realm)-1]
	}
	r := report{header: compositeHeader}
	var list []dated[compositeData]
	for _, d := range realm {
		u := keys[d.Day]
		u.Day = time.Time{}
		data := compositeData{newRealmData(d), u, u.Requests.Unknown + u.Requests.Android + u.Requests.IOS}
		list = append(list, dated[compositeData]{d.Day, data})
		r.rows = append(r.rows, row(date(d.Day), data.head(), data.columns(), data.tail()))
	}
	r.body = struct {
		Realm        int64                  `json:"realm_id"`
		HasKeyServer bool                   `json:"has_key_server_stats"`
		Days         []dated[compositeData] `json:"statistics"`
	}{t.Number, true, list}
	return r, nil
}
