package api

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"carillon/authz"
	"carillon/tenant/batch"
	"carillon/tenant/client"
	"carillon/tenant/export"
	"carillon/tenant/exposure"
	"carillon/tenant/labfeed"
	"carillon/tenant/labfeed/document"
	"carillon/tenant/stats"
	"carillon/tenant/verification"
)

// Every error that a domain package lets callers tell apart has its row, or the
// reason why this surface never meets it.
func TestTablesAreTotal(t *testing.T) {
	t.Parallel()
	const keepingKeys = "about making and changing keys, which the portal does"
	neverHere := map[error]string{
		verification.ErrEmailInvalid: "about letters, which staff alone have sent",
		authz.ErrRule:                "about a tenant's own rules, which are loaded before",
		authz.ErrRoute:               "about the list of routes, when the server is made",
		client.ErrKind:               keepingKeys,
		client.ErrName:               keepingKeys,
		client.ErrNameTaken:          keepingKeys,
		client.ErrExpiry:             keepingKeys,
		client.ErrOverlap:            keepingKeys,
		client.ErrNetworks:           keepingKeys,
		client.ErrDeviceNetworks:     keepingKeys,
		client.ErrReplaced:           keepingKeys,
		client.ErrTooMany:            keepingKeys,
		stats.ErrLost:                "about flushing counts, which the service does",
		export.ErrConflict:           "about writing files, which the job does",
	}
	for name, part := range map[string]struct {
		table     table
		sentinels []error
	}{
		"verification": {verificationAnswers(), append(verification.Sentinels(), authz.Sentinels()...)},
		"lab feed":     {labFeedAnswers(), append(labfeed.Sentinels(), document.Sentinels()...)},
		"batch":        {batchAnswers(), batch.Sentinels()},
		"publish":      {publishAnswers(), exposure.Sentinels()},
		"download":     {downloadAnswers(), export.Sentinels()},
		"statistics":   {append(statsAnswers(), keyStatsAnswers()...), stats.Sentinels()},
		"access":       {accessAnswers(), append(client.Sentinels(), authz.Sentinels()...)},
	} {
		for _, sentinel := range part.sentinels {
			_, found := part.table.find(fmt.Errorf("wrapped: %w", sentinel))
			if _, excused := neverHere[sentinel]; found == excused {
				t.Errorf("%s: %v: in the table %t, never met here %t", name, sentinel, found, excused)
			}
		}
		for _, a := range part.table {
			if !slices.Contains(part.sentinels, a.err) {
				t.Errorf("%s: %v is in the table, but nobody returns it", name, a.err)
			}
		}
		if _, found := part.table.find(errors.New("disk on fire")); found {
			t.Errorf("%s: an unknown error is in the table", name)
		}
	}
}

// Statuses and codes are those that clients know (verification protocol §0.2, §0.3;
// key server protocol §1.7).
func TestTablesKeepToTheRegistry(t *testing.T) {
	t.Parallel()
	for _, a := range slices.Concat(verificationAnswers(), verifyAnswers(), publishAnswers()) {
		if !slices.Contains([]int{400, 401, 404, 409, 412, 429, 500}, a.status) {
			t.Errorf("%v: status %d", a.err, a.status)
		}
		if a.text == "" || strings.ToLower(a.code) != a.code {
			t.Errorf("%v: text %q, code %q", a.err, a.text, a.code)
		}
	}
}

func TestWordsOfTheDomain(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("issue: %w", &verification.Problem{Kind: verification.ErrInvalidDate, Text: "not that day"})
	if a, _ := verificationAnswers().find(err); a.text != "not that day" || a.code != "invalid_date" {
		t.Errorf("answer %+v", a)
	}
	err = &exposure.Problem{Kind: exposure.ErrBadKeys, Text: "no keys"}
	if a, _ := publishAnswers().find(err); a.text != "no keys" {
		t.Errorf("answer %+v", a)
	}
	if a, _ := verificationAnswers().find(verification.ErrCodeExpired); a.text != "verification code expired" {
		t.Errorf("answer %+v", a)
	}
	if a, _ := append(verifyAnswers(), verificationAnswers()...).find(verification.ErrUnsupportedTestType); a.status != http.StatusPreconditionFailed {
		t.Errorf("answer %+v", a)
	}
}

// The router has the declared routes and no others.
func TestRouterHasTheList(t *testing.T) {
	t.Parallel()
	s := emptyServer(t)
	var want, got []string
	for _, r := range s.Routes() {
		want = append(want, r.Method+" "+r.Path)
	}
	for _, r := range s.engine.Routes() {
		got = append(got, r.Method+" "+r.Path)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("router has %v, the list %v", got, want)
	}
}

func TestProfile(t *testing.T) {
	t.Parallel()
	p := &profile{bare: 100}
	for range 100 {
		s := p.draw()
		if s.size < 100+1368 || s.size > 100+2732 || s.took < builtInDelay || s.took >= 2*builtInDelay {
			t.Fatalf("built-in sample %+v", s)
		}
	}
	p.record(sample{size: 1, took: time.Hour})
	if got := p.draw(); got != (sample{1, maxDelay}) {
		t.Errorf("drew %+v, want the only sample, no slower than %v", got, maxDelay)
	}
	for i := range 3 * profileSize {
		p.record(sample{size: 1000 + i})
	}
	seen := map[int]bool{}
	for range 50 * profileSize {
		size := p.draw().size
		if size < 1000+2*profileSize || size >= 1000+3*profileSize {
			t.Fatalf("drew a sample that was replaced: %d", size)
		}
		seen[size] = true
	}
	if len(seen) < profileSize*9/10 {
		t.Errorf("drew %d different samples of %d", len(seen), profileSize)
	}
}

// Chaff waits as long as the success took that it imitates, and ends with its client.
func TestChaffWaits(t *testing.T) {
	t.Parallel()
	const took, size = 30 * time.Millisecond, 1999
	s := &Server{
		config:  Config{Now: time.Now},
		metrics: newMetrics(prometheus.NewRegistry()),
		chaff:   map[string]*profile{classVerify: {}},
	}
	s.chaff[classVerify].record(sample{size: size, took: took})
	w := httptest.NewRecorder()
	c, _ := gin.CreateTestContext(w)
	c.Request = httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("{}"))
	c.Request.Header.Set("X-Chaff", "daily")
	began := time.Now()
	c.Set(visitKey, &visit{start: began, route: &route{chaff: classVerify}})
	s.answerChaff(c)
	if waited := time.Since(began); waited < took {
		t.Errorf("answered after %v, want %v", waited, took)
	}
	if w.Code != http.StatusOK || w.Body.Len() != size || !c.IsAborted() {
		t.Errorf("status %d, %d bytes, want %d", w.Code, w.Body.Len(), size)
	}
}

func TestChaffBody(t *testing.T) {
	t.Parallel()
	for _, size := range []int{14, 15, 16, 17, 1500, 4096} {
		if got := chaffBody(size); len(got) != size {
			t.Errorf("%d bytes, want %d", len(got), size)
		}
	}
	if got := string(chaffBody(0)); got != `{"padding":""}` {
		t.Errorf("the smallest is %s", got)
	}
}

func TestHTTPServerIsBounded(t *testing.T) {
	t.Parallel()
	s := NewHTTPServer(http.NotFoundHandler())
	if s.ReadHeaderTimeout != 10*time.Second || s.ReadTimeout != 15*time.Second || s.WriteTimeout <= workTimeout || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 {
		t.Errorf("server %+v", s)
	}
}

// No cell of a table begins as a formula does, whoever made up the name in it.
func TestTableHasNoFormulas(t *testing.T) {
	t.Parallel()
	cells := []string{`=cmd|' /C calc'!A0`, "+1", "-1", "@SUM(1)", "\tx", "\rx", "\nx", "＝1", "'=1", "", "a=1", "12", "Müller"}
	r := report{header: "a,b,c,d,e,f,g,h,i,j,k,l,m", rows: [][]string{slices.Clone(cells)}}
	rows, err := csv.NewReader(bytes.NewReader(r.table())).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, cell := range cells {
		want := cell
		if i < 8 {
			want = "'" + cell
		}
		if got := rows[1][i]; got != strings.ReplaceAll(want, "\r\n", "\n") {
			t.Errorf("%q is written as %q, want %q", cell, got, want)
		}
	}
}
