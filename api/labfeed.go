package api

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/labfeed"
	"carillon/tenant/labfeed/document"
)

// labFeedRoutes take in laboratory results and show what became of them.
func (s *Server) labFeedRoutes() []route {
	backend := func(method, path string, a authz.Action, h gin.HandlerFunc) route {
		return route{
			Route: authz.Route{
				Method: method, Path: tenantPath + "/api/lab-feed" + path,
				Audience: authz.AudienceBackend, Credential: authz.CredentialAdminKey, Action: a,
				Limit: perCaller, Padding: authz.PaddingNone, TenantFrom: authz.TenantFromURL,
			},
			handle: h,
		}
	}
	return []route{
		backend(http.MethodPost, "", authz.LabSubmit, s.submitResults),
		backend(http.MethodGet, "/submissions/:submission", authz.LabSubmit, s.submissionProgress),
		backend(http.MethodGet, "/dead-letters", authz.LabSubmit, s.deadLetters),
		backend(http.MethodPost, "/dead-letters/:letter/retry", authz.LabSubmit, s.retryDeadLetter),
		backend(http.MethodPost, "/dead-letters/:letter/discard", authz.LabSubmit, s.discardDeadLetter),
		backend(http.MethodGet, "/mapping", authz.LabMap, s.labMapping),
		backend(http.MethodPut, "/mapping", authz.LabMap, s.setLabMapping),
	}
}

// labFeedAnswers is the lab feed's own table, before the common one.
func labFeedAnswers() table {
	const bad, large, conflict = http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusConflict
	return table{
		{labfeed.ErrMapping, bad, "invalid_mapping", "the mapping cannot be used"},
		{labfeed.ErrMappingChanged, conflict, "mapping_changed", "the mapping was changed meanwhile: read it again"},
		{labfeed.ErrNotFound, http.StatusNotFound, "not_found", "no such submission or dead letter"},
		{labfeed.ErrErased, conflict, "dead_letter_erased", "the dead letter is too old to be retried"},
		{document.ErrTooLarge, large, "document_too_large", "the document is too large"},
		{document.ErrTooMany, large, "too_many_results", "the document has too many results"},
		{document.ErrTooDeep, bad, unparsable, "the document is nested too deep"},
		{document.ErrEncoding, bad, unparsable, "the document is not clean UTF-8"},
		{document.ErrMalformed, bad, unparsable, "the document cannot be read"},
		{document.ErrUnsupported, bad, unparsable, "the document is not supported"},
	}
}

const contentHL7 = "application/hl7-v2"

// documentFormats are the content types that are taken.
func documentFormats() map[string]document.Format {
	return map[string]document.Format{
		"application/fhir+json":    document.FHIR,
		contentHL7:                 document.HL7,
		"x-application/hl7-v2+er7": document.HL7,
		"application/x-hl7-v2+er7": document.HL7,
		"application/hl7-v2+er7":   document.HL7,
		"text/csv":                 document.CSV,
	}
}

// formatOf reads the content type; only UTF-8 and nothing packed is taken.
func formatOf(h http.Header) (document.Format, bool) {
	kind, parameters, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset := strings.ToLower(parameters["charset"])
	format, known := documentFormats()[kind]
	return format, err == nil && known && h.Get("Content-Encoding") == "" &&
		(charset == "" || charset == "utf-8" || charset == "us-ascii")
}

const notADocument = "content-type is none of application/fhir+json, application/hl7-v2, text/csv in UTF-8"

// dryRun reads the query. A misspelt parameter must not issue codes.
func dryRun(c *gin.Context) (dry, ok bool) {
	for name, values := range c.Request.URL.Query() {
		switch {
		case name != "dry-run" || len(values) != 1:
			return false, false
		case values[0] == "1" || values[0] == "true":
			dry = true
		case values[0] != "0" && values[0] != "false":
			return false, false
		}
	}
	return dry, true
}

// submitResults takes in a document and answers with a receipt, or says what would
// become of each result. The sender of an HL7 message gets an ACK.
func (s *Server) submitResults(c *gin.Context) {
	dry, ok := dryRun(c)
	if !ok {
		s.sendJSON(c, http.StatusBadRequest, newErrorBody("the only parameter is dry-run, 1 or 0", unparsable))
		return
	}
	format, ok := formatOf(c.Request.Header)
	if !ok {
		s.sendJSON(c, http.StatusBadRequest, newErrorBody(notADocument, unparsable))
		return
	}
	v := of(c)
	if !s.documents.enter(v.tenant.ID) {
		s.busy(c, format)
		return
	}
	defer s.documents.leave(v.tenant.ID)
	body, err := s.takeDocument(c)
	switch {
	case err != nil && format == document.HL7 && !dry:
		s.acknowledge(c, nil, v.id, err)
	case err != nil:
		s.refuse(c, err, labFeedAnswers())
	case dry:
		s.rehearse(c, format, body)
	default:
		s.submit(c, format, body)
	}
}

func (s *Server) rehearse(c *gin.Context, format document.Format, body []byte) {
	v := of(c)
	lines, counts, err := s.config.LabFeed.Rehearse(c.Request.Context(), v.tenant, v.subject, format, body)
	if err != nil {
		s.refuse(c, err, labFeedAnswers())
		return
	}
	s.sendJSON(c, http.StatusOK, struct {
		DryRun bool `json:"dryRun"`
		labfeed.Counts
		Results []labfeed.Line `json:"results"`
	}{true, counts, lines})
}

func (s *Server) submit(c *gin.Context, format document.Format, body []byte) {
	v := of(c)
	receipt, err := s.config.LabFeed.Submit(c.Request.Context(), v.tenant, v.subject, format, body)
	if err == nil {
		c.Header("Location", "lab-feed/submissions/"+receipt.ID.String()) // beside the URL, in either form
	}
	switch {
	case format == document.HL7 && err == nil:
		s.acknowledge(c, receipt.Messages, receipt.ID.String()[:18], nil)
	case format == document.HL7:
		s.acknowledge(c, receipt.Messages, v.id[:18], err)
	case err != nil:
		s.refuse(c, err, labFeedAnswers())
	default:
		s.sendJSON(c, http.StatusAccepted, newReceiptBody(receipt))
	}
}

type receiptBody struct {
	Submission string    `json:"submission"`
	ReceivedAt time.Time `json:"receivedAt"`
	Repeated   bool      `json:"repeated"`
	labfeed.Counts
}

func newReceiptBody(r *labfeed.Receipt) receiptBody {
	return receiptBody{Submission: r.ID.String(), ReceivedAt: r.ReceivedAt.UTC(), Repeated: r.Repeated, Counts: r.Counts}
}

// takeDocument reads the body, up to the bound.
func (s *Server) takeDocument(c *gin.Context) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(c.Request.Body, document.MaxSize+1))
	switch {
	case err != nil && c.Request.Context().Err() != nil:
		return nil, c.Request.Context().Err()
	case err != nil:
		return nil, &document.Problem{Kind: document.ErrMalformed, Text: "the body did not arrive"}
	case len(body) > document.MaxSize:
		return nil, &document.Problem{Kind: document.ErrTooLarge, Text: "the document is too large"}
	}
	return body, nil
}

// acknowledge answers an HL7 document: accepted, rejected by a rule, or failed.
func (s *Server) acknowledge(c *gin.Context, messages []document.Header, id string, err error) {
	ack, status := document.Ack{Code: document.Accepted, ID: id, At: s.config.Now().UTC()}, http.StatusAccepted
	if err != nil {
		ack.Code, ack.Refusal, status = document.Failed, err, http.StatusInternalServerError
		if a, known := append(labFeedAnswers(), verificationAnswers()...).find(err); known {
			status = a.status
		}
		if status < http.StatusTooManyRequests {
			ack.Code = document.Rejected
		}
	}
	send(c, status, contentHL7+"; charset=utf-8", []byte(ack.Text(messages)))
	if status == http.StatusInternalServerError {
		s.fail(c, err) // for the log
	}
}

// busy asks to come again when fewer documents are read.
func (s *Server) busy(c *gin.Context, format document.Format) {
	c.Header("Retry-After", "1")
	if format == document.HL7 {
		ack := document.Ack{Code: document.Failed, ID: of(c).id[:18], At: s.config.Now().UTC()}
		send(c, http.StatusTooManyRequests, contentHL7+"; charset=utf-8", []byte(ack.Text(nil)))
		return
	}
	s.sendJSON(c, http.StatusTooManyRequests, newErrorBody("other documents are being read: try again", "lab_feed_busy"))
}

// documents bounds how many documents are in memory, for each tenant and for all.
type documents struct {
	mu    sync.Mutex
	of    map[tenant.ID]int
	total int
}

const (
	documentsOfATenant = 2
	documentsAtOnce    = 8
)

func (d *documents) enter(id tenant.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of[id] >= documentsOfATenant || d.total >= documentsAtOnce {
		return false
	}
	d.of[id]++
	d.total++
	return true
}

func (d *documents) leave(id tenant.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total--
	if d.of[id]--; d.of[id] == 0 {
		delete(d.of, id)
	}
}

// submissionProgress shows where a document's results stand.
func (s *Server) submissionProgress(c *gin.Context) {
	v := of(c)
	p, err := s.config.LabFeed.Progress(c.Request.Context(), v.tenant, v.subject, c.Param("submission"))
	if err != nil {
		s.refuse(c, err, labFeedAnswers())
		return
	}
	s.sendJSON(c, http.StatusOK, struct {
		receiptBody
		Format string         `json:"format"`
		States map[string]int `json:"states"`
	}{newReceiptBody(&p.Receipt), p.Format, p.States})
}

type deadLetterBody struct {
	ID          string         `json:"id"`
	Submission  string         `json:"submission"`
	Reason      labfeed.Reason `json:"reason"`
	TestType    string         `json:"testType,omitempty"`
	EarlierUUID string         `json:"earlierUUID,omitempty"`
	ReceivedAt  time.Time      `json:"receivedAt"`
	Retryable   bool           `json:"retryable"`
	RetryUntil  time.Time      `json:"retryUntil"`
}

// deadLetters lists results that could not be used, by pages.
func (s *Server) deadLetters(c *gin.Context) {
	v := of(c)
	list, err := s.config.LabFeed.DeadLetters(c.Request.Context(), v.tenant, v.subject, c.Query("after"))
	if err != nil {
		s.refuse(c, err, labFeedAnswers())
		return
	}
	body := struct {
		DeadLetters []deadLetterBody `json:"deadLetters"`
		// Next is the value of after for the next page; empty on the last.
		Next string `json:"next"`
	}{DeadLetters: make([]deadLetterBody, 0, len(list))}
	for _, l := range list {
		letter := deadLetterBody{
			ID: l.ID.String(), Submission: l.Submission.String(), Reason: l.Reason, TestType: l.TestType,
			ReceivedAt: l.ReceivedAt.UTC(), Retryable: l.Retryable, RetryUntil: l.RetryUntil().UTC(),
		}
		if l.EarlierCode != nil {
			letter.EarlierUUID = l.EarlierCode.String()
		}
		body.DeadLetters = append(body.DeadLetters, letter)
	}
	if len(list) == labfeed.PageSize {
		body.Next = list[len(list)-1].ID.String()
	}
	s.sendJSON(c, http.StatusOK, body)
}

// retryDeadLetter judges a dead letter again.
func (s *Server) retryDeadLetter(c *gin.Context) {
	v := of(c)
	reason, err := s.config.LabFeed.Retry(c.Request.Context(), v.tenant, v.subject, c.Param("letter"))
	if err != nil {
		s.refuse(c, err, labFeedAnswers())
		return
	}
	s.sendJSON(c, http.StatusOK, struct {
		Queued bool           `json:"queued"`
		Reason labfeed.Reason `json:"reason,omitempty"`
	}{reason == "", reason})
}

// discardDeadLetter closes a dead letter.
func (s *Server) discardDeadLetter(c *gin.Context) {
	v := of(c)
	if err := s.config.LabFeed.Discard(c.Request.Context(), v.tenant, v.subject, c.Param("letter")); err != nil {
		s.refuse(c, err, labFeedAnswers())
		return
	}
	s.sendJSON(c, http.StatusOK, struct {
		Discarded bool `json:"discarded"`
	}{true})
}

// labMapping shows how results are read.
func (s *Server) labMapping(c *gin.Context) {
	v := of(c)
	m, err := s.config.LabFeed.Mapping(c.Request.Context(), v.tenant, v.subject)
	if err != nil {
		s.refuse(c, err, labFeedAnswers())
		return
	}
	s.sendJSON(c, http.StatusOK, m)
}

// setLabMapping changes how results are read.
func (s *Server) setLabMapping(c *gin.Context) {
	if !isJSON(c) {
		s.sendJSON(c, http.StatusBadRequest, newErrorBody(notJSON, unparsable))
		return
	}
	body, err := s.takeBody(c)
	if err != nil {
		s.sendJSON(c, http.StatusBadRequest, newErrorBody(bodyText(err), unparsable))
		return
	}
	version, err := s.changeMapping(c.Request.Context(), of(c), body)
	if err != nil {
		s.refuse(c, err, labFeedAnswers())
		return
	}
	s.sendJSON(c, http.StatusOK, struct {
		Version int `json:"version"`
	}{version})
}

func (s *Server) changeMapping(ctx context.Context, v *visit, body []byte) (int, error) {
	m, err := labfeed.ParseMapping(body)
	if err != nil {
		return 0, err
	}
	return s.config.LabFeed.SetMapping(ctx, v.tenant, v.subject, m)
}

// labFeedWords are what the domain says of a document or a mapping.
func labFeedWords(err error) string {
	var p *document.Problem
	switch {
	case errors.As(err, &p):
		return p.Text
	case errors.Is(err, labfeed.ErrMapping):
		return err.Error()
	}
	return ""
}
