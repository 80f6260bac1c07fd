package adminui

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/batch/sheet"
	"carillon/tenant/limit"
	"carillon/tenant/member"
	"carillon/tenant/platform"
)

// contentPolicy allows what is our own and in files of its own. Leaving for the
// identity provider is always a link: form-action would hold for every redirect
// that follows a form, wherever the provider leads.
const contentPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

const (
	hstsSeconds = 315_360_000
	maxForm     = 64 << 10 // bytes of a form
	// maxUpload is for forms with a file, which have the file's name and some marks more.
	maxUpload = member.MaxRosterBytes + maxForm
	// maxTable is for forms with a table: so much longer than a table may be that whoever
	// sends one that is too long reads why it was refused.
	maxTable = 4 * sheet.MaxBytes
	// patience is how long something large may take to be sent and worked on.
	patience = 5 * time.Minute
)

// protect wraps everything: headers, the request's ID, panics, and writes that
// another site wants a browser to send.
func (s *Server) protect(next http.Handler) http.Handler {
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, errCrossOrigin) }))
	guarded := guard.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Request-ID", newRequestID())
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Strict-Transport-Security", "max-age="+strconv.Itoa(hstsSeconds)+"; includeSubDomains")
		defer func() {
			if p := recover(); p != nil {
				s.recovered(w, r, p)
			}
		}()
		r.Body = http.MaxBytesReader(w, r.Body, maxTable)
		guarded.ServeHTTP(w, r)
	})
}

// newRequestID is short enough to be read out over the telephone.
func newRequestID() string { return rand.Text()[:12] }

func requestID(w http.ResponseWriter) string { return w.Header().Get("X-Request-ID") }

// recovered answers for a handler that panicked. What it panicked with may hold
// anything, so only a runtime error, which speaks of types and indexes, is logged.
func (s *Server) recovered(w http.ResponseWriter, r *http.Request, p any) {
	if p == http.ErrAbortHandler { //nolint:errorlint // the server compares it so, too
		panic(p)
	}
	text := fmt.Sprintf("%T", p)
	if err, ok := p.(interface{ RuntimeError() }); ok {
		text = fmt.Sprint(err)
	}
	s.fail(w, r, fmt.Errorf("panic: %s", text))
}

// serve guards a request, has it handled, stores the session and only then sends the
// answer, so that whatever fails can still become an error page.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, params gin.Params, rt route) {
	start := s.config.Now()
	v := &visit{id: requestID(w), r: r, w: w, body: r.Body, end: func() {}, params: params, route: rt, zone: time.UTC}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	defer func() { v.end() }()
	a, err := s.visit(r.Context(), w, v)
	if err != nil {
		a = s.answerError(r.Context(), w, v, err)
	}
	s.send(r.Context(), w, v, a)
	slug := ""
	if v.tenant != nil {
		slug = string(v.tenant.Slug)
	}
	s.config.Log.LogAttrs(r.Context(), slog.LevelInfo, "request",
		slog.String("request", requestID(w)), slog.String("method", r.Method), slog.String("route", rt.Path),
		slog.String("tenant", slug), slog.Int("status", a.code()), slog.Duration("took", s.config.Now().Sub(start)))
}

func (s *Server) visit(ctx context.Context, w http.ResponseWriter, v *visit) (answer, error) {
	if v.route.Limit == limitNone {
		return v.route.handle(v)
	}
	if v.route.unattended {
		ctx = member.Unattended(ctx)
	}
	ctx, err := s.sessions.load(ctx, v.r)
	if err != nil {
		return answer{}, err
	}
	v.r = v.r.WithContext(ctx)
	v.who = s.sessions.identity(ctx)
	a, err := s.guarded(ctx, v)
	switch {
	case a.redirect != "" && s.sessions.Exists(ctx, noticeKey):
		s.sessions.Put(ctx, noticePlaceKey, placeOf(a.redirect))
	case a.page != "" && s.sessions.GetString(ctx, noticePlaceKey) == placeOf(v.r.URL.Path):
		a.notice = s.sessions.PopString(ctx, noticeKey)
		s.sessions.Remove(ctx, noticePlaceKey)
	}
	if unsaved := s.sessions.save(v.r.Context(), w); unsaved != nil { //nolint:contextcheck // it may have more time than ctx
		return answer{}, errors.Join(err, unsaved)
	}
	return a, err
}

// placeOf is the part of a path that is one authority's, or one part of the portal: a notice
// is told there, and not in another tab.
func placeOf(path string) string {
	parts := strings.SplitN(path, "/", 4)
	if len(parts) > 2 && parts[1] == "portal" {
		return parts[1] + "/" + parts[2]
	}
	return parts[min(1, len(parts)-1)]
}

// guarded asks what the route declares, in the order that tells a stranger least:
// session, limit, health authority, action, and of those who may, how lately they
// proved who they are.
func (s *Server) guarded(ctx context.Context, v *visit) (answer, error) {
	if v.route.Credential.OfSession() && v.who == nil {
		return s.signInFirst(v) //nolint:contextcheck // handlers take it from the visit
	}
	if err := s.count(v); err != nil {
		return answer{}, err
	}
	if v.route.TenantFrom == authz.TenantFromURL && v.route.Credential.OfSession() {
		if err := s.enter(ctx, v); err != nil {
			return answer{}, err
		}
	}
	if v.route.Role != "" {
		if err := s.enterPlatform(ctx, v); err != nil {
			return answer{}, err
		}
	}
	if err := v.decide(); err != nil {
		return answer{}, err
	}
	if v.route.Credential == authz.CredentialFresh && !s.fresh(v.who) {
		return s.signInAgain(v) //nolint:contextcheck // as above
	}
	v.admit() //nolint:contextcheck // handlers take it from the visit
	if err := readForm(v.r); err != nil {
		return answer{}, err
	}
	return v.route.handle(v)
}

// admit gives whoever may do what the route is for the room and the time that it takes.
// Strangers have those of any other form.
func (v *visit) admit() {
	if v.route.longest > 0 {
		v.r.Body = http.MaxBytesReader(v.w, v.body, v.route.longest)
	}
	if !v.route.patient {
		return
	}
	end := time.Now().Add(patience) //nolint:forbidigo // the connection's clock
	connection := http.NewResponseController(v.w)
	_ = connection.SetReadDeadline(end) // a writer without deadlines has none to move
	_ = connection.SetWriteDeadline(end.Add(time.Minute))
	ctx, cancel := context.WithDeadline(context.WithoutCancel(v.r.Context()), end)
	v.r, v.end = v.r.WithContext(ctx), cancel
}

// readForm reads a form whose fields stand in the body. What is not UTF-8, and NUL, becomes
// the replacement character there: no browser sends it, no field takes it, and it can be
// shown again.
func readForm(r *http.Request) error {
	if r.Method != http.MethodPost {
		return nil
	}
	if err := r.ParseForm(); err != nil {
		return fmt.Errorf("%w: %w", errForm, err)
	}
	for _, values := range r.PostForm {
		for i, text := range values {
			values[i] = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
		}
	}
	return nil
}

// enter finds the authority in the URL and the person among its staff. One that
// does not exist and one that does not know her are the same error.
func (s *Server) enter(ctx context.Context, v *visit) error {
	t, err := s.config.Directory.BySlug(ctx, v.params.ByName("tenant"))
	if err != nil {
		return err
	}
	return s.enterAt(ctx, v, t)
}

// enterAt finds the person among the staff of t.
func (s *Server) enterAt(ctx context.Context, v *visit, t *tenant.Tenant) error {
	by, err := s.config.Staff.Authenticate(ctx, t, *v.who)
	if errors.Is(err, member.ErrNotMember) {
		s.config.Log.LogAttrs(ctx, slog.LevelWarn, "refused somebody of another health authority",
			slog.String("route", v.route.Path), slog.String("tenant", string(t.Slug)))
		if v.who.Realm == t.ID.String() {
			return errUnlinked // it is the authority's own provider that says who she is
		}
	}
	if err != nil {
		return err
	}
	if !limit.Admits(t.Settings.PortalNetworks, s.address(v.r)) {
		return errOutside
	}
	policy, err := s.config.Policies.Policy(ctx, t.ID.String())
	if err != nil {
		return err
	}
	by.Request = v.id
	v.tenant, v.by, v.policy = t, by, policy
	if v.zone, err = time.LoadLocation(t.Settings.TimeZone); err != nil {
		return fmt.Errorf("time zone of %s: %w", t.Slug, err)
	}
	if t.State != tenant.Active && (!v.route.whileClosed || !v.may(v.route.Action)) {
		return errClosed
	}
	return nil
}

// enterPlatform finds the person among those who run the platform. Nobody else can tell
// their pages from those that do not exist.
func (s *Server) enterPlatform(ctx context.Context, v *visit) error {
	by, err := s.config.Operators.Authenticate(ctx, *v.who)
	if errors.Is(err, platform.ErrNotOperator) {
		s.config.Log.LogAttrs(ctx, slog.LevelWarn, "refused somebody who does not run the platform", slog.String("route", v.route.Path))
	}
	if err != nil {
		return err
	}
	by.Request = v.id
	v.by, v.platform = by, true
	if v.route.Role != authz.Support && !slices.Contains(by.Roles, v.route.Role) {
		return errNoPage
	}
	return nil
}

func (a answer) code() int {
	switch {
	case a.status != 0:
		return a.status
	case a.redirect != "":
		return http.StatusSeeOther
	}
	return http.StatusOK
}

// send renders into memory first: a page that fails halfway becomes an error page.
func (s *Server) send(ctx context.Context, w http.ResponseWriter, v *visit, a answer) {
	switch {
	case a.redirect != "":
		w.Header().Set("Cache-Control", "no-store")
		if a.cookie != nil {
			http.SetCookie(w, a.cookie)
		}
		http.Redirect(w, v.r, a.redirect, a.code())
	case a.file != nil:
		a.file.Send(w, v.r)
	case a.json != "":
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(a.code())
		_, _ = io.WriteString(w, a.json) // the asker may have gone
	case a.download != nil:
		s.sendDownload(ctx, w, v, a.download)
	default:
		s.sendPage(ctx, w, v, a)
	}
}

func (s *Server) sendPage(ctx context.Context, w http.ResponseWriter, v *visit, a answer) {
	var body bytes.Buffer
	if err := s.pages.render(&body, s.shell(v, a), a.page); err != nil { //nolint:contextcheck // it is in the visit
		s.logFailure(ctx, requestID(w), err)
		http.Error(w, "internal error "+requestID(w), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if a.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(a.retry))
	}
	w.WriteHeader(a.code())
	// Pages give back what was typed, even where it was no text.
	_, _ = w.Write(bytes.ToValidUTF8(body.Bytes(), []byte("\uFFFD"))) // the browser may have gone
}

// fail answers for a request that reached no handler.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	v := &visit{r: r, zone: time.UTC}
	s.send(r.Context(), w, v, s.answerError(r.Context(), w, v, err))
}

func (s *Server) logFailure(ctx context.Context, id string, err error) {
	s.config.Log.LogAttrs(ctx, slog.LevelError, "request failed", slog.String("request", id), slog.Any("error", err))
}
