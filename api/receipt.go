package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"carillon/tenant"
	"carillon/tenant/message/provider"
)

// maxReceipt bounds the body of a provider's report, in bytes.
const maxReceipt = 64 << 10

// receipt answers a message provider's report (§7.2): 400 if it is not signed for this
// tenant, 200 if it is, whether or not it says anything of interest.
func (s *Server) receipt(take func(context.Context, *tenant.Tenant, provider.Receipt) error) gin.HandlerFunc {
	return func(c *gin.Context) {
		in, err := readReceipt(c)
		t := of(c).tenant
		if err == nil && t != nil {
			err = take(c.Request.Context(), t, in)
		}
		switch {
		case t == nil, errors.Is(err, provider.ErrReceipt):
			send(c, http.StatusBadRequest, contentText, []byte("bad request"))
		case err != nil:
			s.fail(c, err)
		default:
			send(c, http.StatusOK, contentText, nil)
		}
	}
}

// readReceipt reads a form. The signature is over the fields, so that one in the URL is
// none of them.
func readReceipt(c *gin.Context) (provider.Receipt, error) {
	r := c.Request
	if !strings.HasPrefix(c.GetHeader("Content-Type"), "application/x-www-form-urlencoded") {
		return provider.Receipt{}, provider.ErrReceipt
	}
	r.Body = http.MaxBytesReader(c.Writer, r.Body, maxReceipt)
	if err := r.ParseForm(); err != nil {
		return provider.Receipt{}, provider.ErrReceipt
	}
	return provider.Receipt{Query: r.URL.RawQuery, Form: r.PostForm, Signature: c.GetHeader("X-Twilio-Signature")}, nil
}
