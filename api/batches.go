package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/batch"
)

// batchAnswers are those of /api/codes/batches. They are Carillon's own; the protocol
// has no such endpoint.
func batchAnswers() table {
	const bad = http.StatusBadRequest
	return table{
		{batch.ErrKey, bad, "invalid_idempotency_key", "an idempotency key of 1 to 200 printable ASCII characters is required"},
		{batch.ErrKeyUsed, http.StatusConflict, "idempotency_key_reused", "the idempotency key belongs to a batch with other content"},
		{batch.ErrEmpty, bad, unparsable, "the batch has no codes"},
		{batch.ErrTooLarge, http.StatusRequestEntityTooLarge, "batch_too_large", "a batch may have 50000 codes and 25 MiB"},
		{batch.ErrRow, bad, unparsable, "a row is malformed"},
		{batch.ErrTooMany, http.StatusTooManyRequests, "too_many_batches", "too many batches are unfinished"},
		{batch.ErrNotFound, http.StatusNotFound, "batch_not_found", "batch not found"},
		{batch.ErrFinished, http.StatusConflict, "batch_finished", "the batch is done or cancelled"},
		{batch.ErrNothingFailed, http.StatusConflict, "batch_nothing_failed", "no row can be tried again"},
		{batch.ErrOthers, http.StatusForbidden, "", "the batch is somebody else's"},
		{batch.ErrUnworkable, http.StatusInternalServerError, "internal_server_error", internalError},
	}
}

// batchResponse is a batch; times are of RFC 3339.
type batchResponse struct {
	ID          string     `json:"id"`
	Key         string     `json:"key"`
	State       string     `json:"state"`
	Rows        int        `json:"rows"`
	CreatedAt   time.Time  `json:"createdAt"`
	FinishedAt  *time.Time `json:"finishedAt,omitempty"`
	HeldUntil   *time.Time `json:"heldUntil,omitempty"`
	HeldBecause string     `json:"heldBecause,omitempty"`
}

func newBatchResponse(b batch.Batch) batchResponse {
	return batchResponse{
		ID: b.ID.String(), Key: b.Key, State: string(b.State), Rows: b.Rows,
		CreatedAt: b.CreatedAt.UTC(), FinishedAt: utc(b.FinishedAt), HeldUntil: utc(b.HeldUntil), HeldBecause: string(b.HeldBecause),
	}
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	moved := t.UTC()
	return &moved
}

// refuseBatch answers an error of package batch.
func (s *Server) refuseBatch(c *gin.Context, err error) {
	var row *batch.RowError
	if errors.As(err, &row) {
		s.sendJSON(c, http.StatusBadRequest, newErrorBody(row.Error(), unparsable))
		return
	}
	s.refuse(c, err, batchAnswers())
}

// createBatch answers 201 for a new batch, and 200 for one that is there already. A
// tenant without batches is told so before the body is read.
func (s *Server) createBatch(c *gin.Context) {
	v := of(c)
	if err := s.config.Issuer.CheckBatch(c.Request.Context(), v.tenant, v.subject); err != nil {
		s.refuse(c, err, nil)
		return
	}
	ctx, cancel := longer(c, uploadTime)
	defer cancel()
	body := newBatchBody(c.Request.Body)
	key, err := body.begin(c.GetHeader("Content-Type"), c.GetHeader("Idempotency-Key"))
	if err != nil {
		s.refuseBatchBody(c, err)
		return
	}
	b, created, err := s.config.Batches.Create(ctx, v.tenant, v.subject, key, body.orders)
	if err != nil {
		s.refuseBatchBody(c, err)
		return
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		c.Header("Location", strings.TrimSuffix(c.Request.URL.Path, "/")+"/"+b.ID.String())
	}
	s.sendJSON(c, status, newBatchResponse(*b))
}

// refuseBatchBody closes the connection, because a body that was refused may not have
// been read to its end.
func (s *Server) refuseBatchBody(c *gin.Context, err error) {
	c.Header("Connection", "close")
	var bad *bodyError
	if errors.As(err, &bad) {
		s.sendJSON(c, http.StatusBadRequest, newErrorBody(bad.text, unparsable))
		return
	}
	s.refuseBatch(c, err)
}

// uploadTime bounds the taking in of a batch.
const uploadTime = 5 * time.Minute

// longer gives a request more time than others have, for reading its body as well. The
// end of that time ends the reading.
func longer(c *gin.Context, d time.Duration) (context.Context, context.CancelFunc) {
	connection := http.NewResponseController(c.Writer)
	// A writer without deadlines has none to lift.
	_ = connection.SetReadDeadline(time.Time{})
	_ = connection.SetWriteDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), d)
	stop := context.AfterFunc(ctx, func() { _ = connection.SetReadDeadline(time.Unix(1, 0)) })
	return ctx, func() { stop(); cancel() }
}

// listBatches answers with the newest hundred, or those before the one that is named.
func (s *Server) listBatches(c *gin.Context) {
	v := of(c)
	var before uuid.NullUUID
	if text := c.Query("before"); text != "" && before.UnmarshalText([]byte(text)) != nil {
		s.sendJSON(c, http.StatusBadRequest, newErrorBody("before must be a batch's ID", unparsable))
		return
	}
	list, err := s.config.Batches.List(c.Request.Context(), v.tenant, v.subject, before, batch.MaxList)
	if err != nil {
		s.refuseBatch(c, err)
		return
	}
	response := struct {
		Batches []batchResponse `json:"batches"`
		Next    string          `json:"next,omitempty"`
	}{Batches: make([]batchResponse, len(list))}
	for i, b := range list {
		response.Batches[i] = newBatchResponse(b)
	}
	if len(list) == batch.MaxList {
		response.Next = list[len(list)-1].ID.String()
	}
	s.sendJSON(c, http.StatusOK, response)
}

// progressResponse is a batch with how far it is.
type progressResponse struct {
	batchResponse
	Counts    map[batch.State]int `json:"counts"`
	PerMinute float64             `json:"rowsPerMinute"`
	EndsAt    *time.Time          `json:"endsAt,omitempty"`
}

func (s *Server) getBatch(c *gin.Context) {
	v := of(c)
	p, err := s.config.Batches.Get(c.Request.Context(), v.tenant, v.subject, c.Param("batch"))
	if err != nil {
		s.refuseBatch(c, err)
		return
	}
	s.sendJSON(c, http.StatusOK, progressResponse{newBatchResponse(p.Batch), p.Counts, p.PerMinute, p.EndsAt})
}

// rowResponse is a row's result.
type rowResponse struct {
	Row         int        `json:"row"`
	UUID        string     `json:"uuid"`
	State       string     `json:"state"`
	DuplicateOf int        `json:"duplicateOf,omitempty"`
	Code        string     `json:"code,omitempty"`
	ExpiresAt   *time.Time `json:"expiresAt,omitempty"`
	Error       string     `json:"error,omitempty"`
	ErrorCode   string     `json:"errorCode,omitempty"`
}

func newRowResponse(r batch.Row) rowResponse {
	response := rowResponse{
		Row: r.Number, UUID: r.ID.String(), State: string(r.State), DuplicateOf: r.DuplicateOf,
		Code: r.Code, ExpiresAt: utc(r.ExpiresAt),
	}
	switch {
	case r.Err != nil:
		a, _ := append(verificationAnswers(), batchAnswers()...).find(r.Err)
		response.Error, response.ErrorCode = a.text, a.code
	case r.State == batch.Duplicate:
		response.Error, response.ErrorCode = "row "+strconv.Itoa(r.DuplicateOf)+" has the same phone number", "duplicate_phone"
	}
	return response
}

// rowsResponse is a page of results. Next is what the next page comes after; it is
// absent at the end.
type rowsResponse struct {
	Rows []rowResponse `json:"rows"`
	Next int           `json:"next,omitempty"`
}

func (s *Server) listBatchRows(c *gin.Context) {
	v := of(c)
	after, err := strconv.Atoi(c.DefaultQuery("after", "0"))
	if err != nil || after < 0 || after > batch.MaxRows {
		s.sendJSON(c, http.StatusBadRequest, newErrorBody("after must be a row's number", unparsable))
		return
	}
	rows, err := s.config.Batches.Rows(c.Request.Context(), v.tenant, v.subject, c.Param("batch"), after, batch.MaxPage)
	if err != nil {
		s.refuseBatch(c, err)
		return
	}
	response := rowsResponse{Rows: make([]rowResponse, len(rows))}
	for i, r := range rows {
		response.Rows[i] = newRowResponse(r)
	}
	if len(rows) == batch.MaxPage {
		response.Next = rows[len(rows)-1].Number
	}
	s.sendJSON(c, http.StatusOK, response)
}

func (s *Server) pauseBatch(c *gin.Context)  { s.changeBatch(c, s.config.Batches.Pause) }
func (s *Server) resumeBatch(c *gin.Context) { s.changeBatch(c, s.config.Batches.Resume) }
func (s *Server) cancelBatch(c *gin.Context) { s.changeBatch(c, s.config.Batches.Cancel) }

type batchChange = func(context.Context, *tenant.Tenant, authz.Subject, string) (*batch.Batch, error)

func (s *Server) changeBatch(c *gin.Context, change batchChange) {
	v := of(c)
	b, err := change(c.Request.Context(), v.tenant, v.subject, c.Param("batch"))
	if err != nil {
		s.refuseBatch(c, err)
		return
	}
	s.sendJSON(c, http.StatusOK, newBatchResponse(*b))
}
