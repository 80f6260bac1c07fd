package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/elimity-com/scim"
	scimerrors "github.com/elimity-com/scim/errors"
	"github.com/elimity-com/scim/optional"
	"github.com/google/uuid"
	filter "github.com/scim2/filter-parser/v2"

	"carillon/tenant/member"
)

// entityTag is a resource's weak entity tag (RFC 7644 §3.14).
func entityTag(changed time.Time) string { return fmt.Sprintf(`W/"%x"`, changed.UnixMicro()) }

// unchanged refuses a change to what has changed since the caller saw it.
func unchanged(r *http.Request, changed time.Time) error {
	if wanted := r.Header.Get("If-Match"); wanted != "" && wanted != "*" && wanted != entityTag(changed) {
		return scimError(http.StatusPreconditionFailed, "", "It has changed in the meantime.")
	}
	return nil
}

// which reads a filter: one attribute equal to a text. Others are not supported.
func which(p scim.ListRequestParams, name string) (member.Which, error) {
	var w member.Which
	if p.FilterValidator == nil {
		return w, nil
	}
	e, ok := p.FilterValidator.GetFilter().(*filter.AttributeExpression)
	if !ok || !strings.EqualFold(string(e.Operator), string(filter.EQ)) {
		return w, scimerrors.ScimErrorInvalidFilter
	}
	text, ok := e.CompareValue.(string)
	if !ok || text == "" || strings.ContainsRune(text, 0) {
		return w, scimerrors.ScimErrorInvalidFilter
	}
	switch attribute := e.AttributePath.String(); {
	case strings.EqualFold(attribute, name):
		w.Name = text
	case strings.EqualFold(attribute, "externalId"):
		w.ExternalID = text
	case strings.EqualFold(attribute, "id"):
		w.ID = scimID(text)
	default:
		return w, scimerrors.ScimErrorInvalidFilter
	}
	return w, nil
}

// scimID is an ID, or for what is none, one that nothing has.
func scimID(text string) uuid.UUID {
	id, err := uuid.Parse(text)
	if err != nil || id == uuid.Nil {
		return uuid.Max
	}
	return id
}

// list reads a page of either kind.
func list[T any](p scim.ListRequestParams, fetch func(start, count int) ([]T, int, error), show func(T) scim.Resource) (scim.Page, error) {
	found, total, err := fetch(max(p.StartIndex-1, 0), p.Count)
	page := scim.Page{TotalResults: total, Resources: []scim.Resource{}}
	for _, one := range found {
		page.Resources = append(page.Resources, show(one))
	}
	return page, err
}

// values reads attributes as they come in: from a whole resource, or from an operation.
type values map[string]any

func (a values) text(name string) (string, bool) {
	text, ok := a[name].(string)
	return text, ok
}

// flag is a truth value; some providers send it as a text.
func (a values) flag(name string) (value, found bool) {
	switch v := a[name].(type) {
	case bool:
		return v, true
	case string:
		return strings.EqualFold(v, "true"), strings.EqualFold(v, "true") || strings.EqualFold(v, "false")
	}
	return false, false
}

// changes are the operations of a PATCH as attributes, one after another. Removing is
// setting to nothing.
func changes(operations []scim.PatchOperation, apply func(op scim.PatchOperation, attribute string, a values) error) error {
	for _, op := range operations {
		if op.Path == nil {
			whole, ok := op.Value.(map[string]any)
			if !ok {
				return scimerrors.ScimErrorInvalidValue
			}
			for name, value := range whole {
				if err := apply(op, name, values{name: value}); err != nil {
					return err
				}
			}
			continue
		}
		name := op.Path.AttributePath.AttributeName
		a := values{name: op.Value}
		if sub := op.Path.AttributePath.SubAttributeName(); sub != "" {
			a = values{name: map[string]any{sub: op.Value}}
		}
		if err := apply(op, name, a); err != nil {
			return err
		}
	}
	return nil
}

// scimUsers are the users of a health authority.
type scimUsers struct{ scimCaller }

var _ scim.ResourceHandler = scimUsers{}

func (scimUsers) show(u member.User) scim.Resource {
	return scim.Resource{
		ID: u.ID.String(), ExternalID: external(u.ExternalID),
		Attributes: scim.ResourceAttributes{
			"userName": u.UserName, "displayName": u.Name, "active": u.Active,
			"name":   map[string]any{"formatted": u.Name},
			"emails": []any{map[string]any{"value": u.UserName, "primary": true}},
		},
		Meta: scim.Meta{Created: &u.Created, LastModified: &u.Changed, Version: entityTag(u.Changed)},
	}
}

func external(id string) optional.String {
	if id == "" {
		return optional.String{}
	}
	return optional.NewString(id)
}

// put takes over what attributes say of a user.
func put(u *member.User, a values) error {
	if text, ok := a.text("userName"); ok {
		u.UserName = text
	}
	if text, ok := a.text("externalId"); ok {
		if !isExternalID(text) {
			return scimerrors.ScimErrorInvalidValue
		}
		u.ExternalID = text
	}
	if active, ok := a.flag("active"); ok {
		u.Active = active
	}
	if text := fullName(a); text != "" {
		u.Name = text
	}
	return nil
}

const maxExternalID = 200 // bytes

func isExternalID(text string) bool {
	return len(text) <= maxExternalID && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// fullName is a name from whichever of its attributes is there.
func fullName(a values) string {
	if text, ok := a.text("displayName"); ok && text != "" {
		return text
	}
	name, _ := a["name"].(map[string]any)
	if text, ok := values(name).text("formatted"); ok && text != "" {
		return text
	}
	given, _ := values(name).text("givenName")
	family, _ := values(name).text("familyName")
	return strings.TrimSpace(given + " " + family)
}

// Create makes a user. One without a name is called by her address.
func (h scimUsers) Create(r *http.Request, a scim.ResourceAttributes) (scim.Resource, error) {
	u := member.User{Active: true}
	if err := put(&u, values(a)); err != nil {
		return scim.Resource{}, err
	}
	if u.Name == "" {
		u.Name = u.UserName
	}
	u, err := h.server.config.Provisioner.CreateUser(r.Context(), h.view.tenant, h.view.subject, u)
	return h.show(u), h.answer(r, err)
}

// Get reads a user.
func (h scimUsers) Get(r *http.Request, id string) (scim.Resource, error) {
	found, _, err := h.server.config.Provisioner.Users(r.Context(), h.view.tenant, h.view.subject, member.Which{ID: scimID(id)}, 0, 1)
	if err == nil && len(found) == 0 {
		err = member.ErrNoSuchMember
	}
	if err != nil {
		return scim.Resource{}, h.answer(r, err)
	}
	return h.show(found[0]), nil
}

// GetAll lists users.
func (h scimUsers) GetAll(r *http.Request, p scim.ListRequestParams) (scim.Page, error) {
	w, err := which(p, "userName")
	if err != nil {
		return scim.Page{}, err
	}
	page, err := list(p, func(start, count int) ([]member.User, int, error) {
		return h.server.config.Provisioner.Users(r.Context(), h.view.tenant, h.view.subject, w, start, count)
	}, h.show)
	return page, h.answer(r, err)
}

// Replace changes a user to what is given; whether she is active stays if it is not said.
func (h scimUsers) Replace(r *http.Request, id string, a scim.ResourceAttributes) (scim.Resource, error) {
	return h.change(r, id, func(u *member.User) error {
		u.ExternalID = ""
		return put(u, values(a))
	})
}

// Patch changes parts of a user. What Carillon does not keep is passed over.
func (h scimUsers) Patch(r *http.Request, id string, operations []scim.PatchOperation) (scim.Resource, error) {
	return h.change(r, id, func(u *member.User) error {
		return changes(operations, func(op scim.PatchOperation, attribute string, a values) error {
			if op.Op != scim.PatchOperationRemove {
				return put(u, a)
			}
			switch {
			case strings.EqualFold(attribute, "externalId"):
				u.ExternalID = ""
			case strings.EqualFold(attribute, "userName"), strings.EqualFold(attribute, "active"):
				return scimerrors.ScimErrorMutability
			}
			return nil
		})
	})
}

func (h scimUsers) change(r *http.Request, id string, fn func(*member.User) error) (scim.Resource, error) {
	u, err := h.server.config.Provisioner.ChangeUser(r.Context(), h.view.tenant, h.view.subject, scimID(id), func(u *member.User) error {
		if err := unchanged(r, u.Changed); err != nil {
			return err
		}
		return fn(u)
	})
	return h.show(u), h.answer(r, err)
}

// Delete removes a user.
func (h scimUsers) Delete(r *http.Request, id string) error {
	err := h.server.config.Provisioner.DeleteUser(r.Context(), h.view.tenant, h.view.subject, scimID(id), func(u member.User) error {
		return unchanged(r, u.Changed)
	})
	return h.answer(r, err)
}

// scimGroups are the groups of a health authority.
type scimGroups struct{ scimCaller }

var _ scim.ResourceHandler = scimGroups{}

func (scimGroups) show(g member.UserGroup) scim.Resource {
	members := []any{}
	for _, id := range g.Members {
		members = append(members, map[string]any{"value": id.String(), "type": "User"})
	}
	return scim.Resource{
		ID: g.ID.String(), ExternalID: external(g.ExternalID),
		Attributes: scim.ResourceAttributes{"displayName": g.Name, "members": members},
		Meta:       scim.Meta{Created: &g.Created, LastModified: &g.Changed, Version: entityTag(g.Changed)},
	}
}

// membersOf reads a list of members.
func membersOf(value any) ([]uuid.UUID, error) {
	many, ok := value.([]any)
	if !ok && value != nil {
		many = []any{value}
	}
	ids := []uuid.UUID{}
	for _, one := range many {
		entry, ok := one.(map[string]any)
		if !ok {
			return nil, scimerrors.ScimErrorInvalidValue
		}
		text, _ := values(entry).text("value")
		ids = append(ids, scimID(text))
	}
	if len(ids) > member.MaxStaff {
		return nil, scimerrors.ScimErrorTooMany
	}
	return ids, nil
}

func putGroup(g *member.UserGroup, a values) error {
	if text, ok := a.text("displayName"); ok {
		g.Name = text
	}
	if text, ok := a.text("externalId"); ok {
		if !isExternalID(text) {
			return scimerrors.ScimErrorInvalidValue
		}
		g.ExternalID = text
	}
	if value, ok := a["members"]; ok {
		ids, err := membersOf(value)
		if err != nil {
			return err
		}
		g.Members = ids
	}
	return nil
}

// Create makes a group.
func (h scimGroups) Create(r *http.Request, a scim.ResourceAttributes) (scim.Resource, error) {
	var g member.UserGroup
	if err := putGroup(&g, values(a)); err != nil {
		return scim.Resource{}, err
	}
	g, err := h.server.config.Provisioner.CreateGroup(r.Context(), h.view.tenant, h.view.subject, g)
	return h.show(g), h.answer(r, err)
}

// Get reads a group.
func (h scimGroups) Get(r *http.Request, id string) (scim.Resource, error) {
	found, _, err := h.server.config.Provisioner.Groups(r.Context(), h.view.tenant, h.view.subject, member.Which{ID: scimID(id)}, 0, 1)
	if err == nil && len(found) == 0 {
		err = member.ErrNoSuchGroup
	}
	if err != nil {
		return scim.Resource{}, h.answer(r, err)
	}
	return h.show(found[0]), nil
}

// GetAll lists groups.
func (h scimGroups) GetAll(r *http.Request, p scim.ListRequestParams) (scim.Page, error) {
	w, err := which(p, "displayName")
	if err != nil {
		return scim.Page{}, err
	}
	page, err := list(p, func(start, count int) ([]member.UserGroup, int, error) {
		return h.server.config.Provisioner.Groups(r.Context(), h.view.tenant, h.view.subject, w, start, count)
	}, h.show)
	return page, h.answer(r, err)
}

// Replace changes a group to what is given.
func (h scimGroups) Replace(r *http.Request, id string, a scim.ResourceAttributes) (scim.Resource, error) {
	return h.change(r, id, func(g *member.UserGroup) error {
		g.ExternalID, g.Members = "", nil
		return putGroup(g, values(a))
	})
}

// Patch changes a group's name, or lets members in and out.
func (h scimGroups) Patch(r *http.Request, id string, operations []scim.PatchOperation) (scim.Resource, error) {
	return h.change(r, id, func(g *member.UserGroup) error {
		return changes(operations, func(op scim.PatchOperation, attribute string, a values) error {
			switch {
			case strings.EqualFold(attribute, "members"):
				return changeMembers(g, op, a[attribute])
			case op.Op != scim.PatchOperationRemove:
				return putGroup(g, a)
			case strings.EqualFold(attribute, "externalId"):
				g.ExternalID = ""
				return nil
			}
			return scimerrors.ScimErrorMutability
		})
	})
}

func changeMembers(g *member.UserGroup, op scim.PatchOperation, value any) error {
	ids, err := membersOf(value)
	if err != nil {
		return err
	}
	if op.Path != nil && op.Path.ValueExpression != nil {
		e, ok := op.Path.ValueExpression.(*filter.AttributeExpression)
		text, isText := "", false
		if ok {
			text, isText = e.CompareValue.(string)
		}
		if op.Op != scim.PatchOperationRemove || !ok || !isText || !strings.EqualFold(string(e.Operator), string(filter.EQ)) ||
			!strings.EqualFold(e.AttributePath.AttributeName, "value") {
			return scimerrors.ScimErrorInvalidPath
		}
		ids = []uuid.UUID{scimID(text)}
	}
	switch {
	case op.Op == scim.PatchOperationAdd:
		g.Members = append(g.Members, ids...)
	case op.Op == scim.PatchOperationReplace || len(ids) == 0: // to remove without saying whom is to remove all
		g.Members = ids
	default:
		g.Members = slices.DeleteFunc(g.Members, func(id uuid.UUID) bool { return slices.Contains(ids, id) })
	}
	return nil
}

func (h scimGroups) change(r *http.Request, id string, fn func(*member.UserGroup) error) (scim.Resource, error) {
	g, err := h.server.config.Provisioner.ChangeGroup(r.Context(), h.view.tenant, h.view.subject, scimID(id), func(g *member.UserGroup) error {
		if err := unchanged(r, g.Changed); err != nil {
			return err
		}
		return fn(g)
	})
	return h.show(g), h.answer(r, err)
}

// Delete deletes a group.
func (h scimGroups) Delete(r *http.Request, id string) error {
	err := h.server.config.Provisioner.DeleteGroup(r.Context(), h.view.tenant, h.view.subject, scimID(id), func(g member.UserGroup) error {
		return unchanged(r, g.Changed)
	})
	return h.answer(r, err)
}
