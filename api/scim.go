package api

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/elimity-com/scim"
	scimerrors "github.com/elimity-com/scim/errors"
	"github.com/elimity-com/scim/optional"
	"github.com/elimity-com/scim/schema"
	"github.com/gin-gonic/gin"

	"carillon/authz"
	"carillon/tenant/member"
)

const (
	scimPath = "/scim/v2"
	// maxSCIM is for a group with all the members that there may be.
	maxSCIM = 512 << 10
	// scimPage is how many users or groups a page has at most.
	scimPage = 100
)

// scimRoutes are what an identity provider asks for (RFC 7644).
func (s *Server) scimRoutes() []route {
	one := func(method, path string, a authz.Action) route {
		return route{
			Route: authz.Route{
				Method: method, Path: tenantPath + scimPath + path,
				Audience: authz.AudienceBackend, Credential: authz.CredentialSCIMKey, Action: a,
				Limit: perCaller, Padding: authz.PaddingNone, TenantFrom: authz.TenantFromURL,
			},
			handle: s.scim,
		}
	}
	list := []route{
		one(http.MethodGet, "/ServiceProviderConfig", authz.MemberRead),
		one(http.MethodGet, "/Schemas", authz.MemberRead),
		one(http.MethodGet, "/Schemas/:id", authz.MemberRead),
		one(http.MethodGet, "/ResourceTypes", authz.MemberRead),
		one(http.MethodGet, "/ResourceTypes/:id", authz.MemberRead),
	}
	for _, kind := range []string{"/Users", "/Groups"} {
		list = append(list,
			one(http.MethodGet, kind, authz.MemberRead), one(http.MethodPost, kind, authz.MemberWrite),
			one(http.MethodGet, kind+"/:id", authz.MemberRead), one(http.MethodPut, kind+"/:id", authz.MemberWrite),
			one(http.MethodPatch, kind+"/:id", authz.MemberWrite), one(http.MethodDelete, kind+"/:id", authz.MemberWrite),
		)
	}
	return list
}

// presentedKey is the API key of a request. Identity providers send theirs as a bearer
// token (RFC 7644 §2).
func presentedKey(c *gin.Context, credential authz.Credential) string {
	if token, ok := strings.CutPrefix(c.GetHeader("Authorization"), "Bearer "); ok && credential == authz.CredentialSCIMKey {
		return token
	}
	return c.GetHeader("X-API-Key")
}

// scim serves one request by a server made for it, so that whose users are meant is never
// looked up in the request.
func (s *Server) scim(c *gin.Context) {
	v := of(c)
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, maxSCIM))
	if err != nil {
		c.Data(http.StatusRequestEntityTooLarge, "application/scim+json",
			[]byte(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"413","detail":"The request is too long."}`))
		return
	}
	base := "/t/" + string(v.tenant.Slug) + scimPath
	who := scimCaller{server: s, view: v}
	server, err := scim.NewServer(&scim.ServerArgs{
		ServiceProviderConfig: &scim.ServiceProviderConfig{
			MaxResults: scimPage, SupportFiltering: true, SupportPatch: true,
			AuthenticationSchemes: []scim.AuthenticationScheme{{
				Type: scim.AuthenticationTypeOauthBearerToken, Name: "Bearer token", Description: "An API key of the kind scim", Primary: true,
			}},
		},
		ResourceTypes: []scim.ResourceType{
			{ID: optional.NewString("User"), Name: "User", Endpoint: "/Users", Schema: schema.CoreUserSchema(), Handler: scimUsers{who}},
			{ID: optional.NewString("Group"), Name: "Group", Endpoint: "/Groups", Schema: schema.CoreGroupSchema(), Handler: scimGroups{who}},
		},
	}, scim.WithBaseURL(s.config.BaseURL+base))
	if err != nil {
		s.fail(c, err)
		return
	}
	r := c.Request.Clone(c.Request.Context())
	r.URL.Path, r.URL.RawPath = strings.TrimPrefix(r.URL.Path, base), ""
	r.Body = io.NopCloser(bytes.NewReader(body))
	server.ServeHTTP(c.Writer, r)
}

// scimCaller is on whose behalf a request is dealt with.
type scimCaller struct {
	server *Server
	view   *visit
}

func scimError(status int, kind scimerrors.ScimType, detail string) scimerrors.ScimError {
	return scimerrors.ScimError{Status: status, ScimType: kind, Detail: detail}
}

// answer turns an error of the domain into one of RFC 7644 §3.12.
func (w scimCaller) answer(r *http.Request, err error) error {
	var known scimerrors.ScimError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.Is(err, member.ErrNoSuchMember), errors.Is(err, member.ErrNoSuchGroup):
		return scimError(http.StatusNotFound, "", "There is no such user or group.")
	case errors.Is(err, member.ErrAlreadyMember):
		return scimError(http.StatusConflict, scimerrors.ScimTypeUniqueness, "Another user or group has this name.")
	case errors.Is(err, member.ErrFull):
		return scimError(http.StatusForbidden, "", "There are as many users or groups as there may be.")
	case errors.Is(err, member.ErrLastOwner):
		return scimError(http.StatusForbidden, "", "The last owner of a health authority stays.")
	case errors.Is(err, member.ErrOwnerChange):
		return scimError(http.StatusForbidden, "", "An owner is removed by two people in the portal; she can be deactivated.")
	case errors.Is(err, member.ErrUserNameFixed):
		return scimError(http.StatusBadRequest, scimerrors.ScimTypeMutability, "The userName of somebody to whom staff gave roles cannot be changed.")
	case errors.Is(err, member.ErrEmail):
		return scimError(http.StatusBadRequest, scimerrors.ScimTypeInvalidValue, "The userName is not an e-mail address of plain letters.")
	case errors.Is(err, member.ErrName):
		return scimError(http.StatusBadRequest, scimerrors.ScimTypeInvalidValue, "A name has 1 to 100 visible characters.")
	case errors.Is(err, authz.ErrForbidden):
		return scimError(http.StatusForbidden, "", "Not permitted.")
	}
	w.server.config.Log.ErrorContext(r.Context(), "request failed", slog.String("request", w.view.id), slog.Any("error", err))
	return scimerrors.ScimErrorInternal
}
