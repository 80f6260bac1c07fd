package api

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"carillon/api/openapi"
)

const documentCaching = "public, max-age=300"

// document serves the OpenAPI document, with the tenant's URLs in it.
func (s *Server) document(c *gin.Context) {
	c.Header("Cache-Control", documentCaching)
	c.Header("Access-Control-Allow-Origin", "*") // tools in browsers read it; it is public
	send(c, http.StatusOK, contentJSON, s.contract.JSON(s.documentSite(c)))
}

// documentPage serves the same for people.
func (s *Server) documentPage(c *gin.Context) {
	page, policy, err := s.contract.Page(s.documentSite(c))
	if err != nil {
		s.fail(c, err)
		return
	}
	c.Header("Cache-Control", documentCaching)
	c.Header("Content-Security-Policy", policy)
	send(c, http.StatusOK, contentHTML, page)
}

func (s *Server) documentSite(c *gin.Context) openapi.Site {
	t := of(c).tenant
	site := openapi.Site{Base: s.config.BaseURL, Slug: string(t.Slug), Name: t.Name, Links: s.config.BaseURL}
	if l := s.config.Links; l != nil && len(l.Domains) > 0 {
		site.Links = "https://" + strings.ToLower(t.Region) + "." + l.Domains[0]
	}
	return site
}
