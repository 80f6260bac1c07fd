package adminui

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"carillon/authz"
	"carillon/authz/oidc"
	"carillon/tenant"
	"carillon/tenant/alert"
	"carillon/tenant/approval"
	"carillon/tenant/archive"
	"carillon/tenant/archive/shelf"
	"carillon/tenant/batch"
	"carillon/tenant/batch/sheet"
	"carillon/tenant/client"
	exports "carillon/tenant/export/shelf"
	"carillon/tenant/idp"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
	"carillon/tenant/leaving"
	"carillon/tenant/member"
	"carillon/tenant/message"
	"carillon/tenant/message/template"
	"carillon/tenant/pack"
	"carillon/tenant/pack/enx"
	"carillon/tenant/platform"
	"carillon/tenant/quota"
	"carillon/tenant/rehearsal"
	"carillon/tenant/role"
	"carillon/tenant/setting"
	"carillon/tenant/sharing"
	"carillon/tenant/signup"
	"carillon/tenant/support"
	"carillon/tenant/verification"
)

// The portal's own reasons to refuse a request.
var (
	errNoPage      = errors.New("no such page")
	errMethod      = errors.New("method not allowed")
	errCrossOrigin = errors.New("form sent from another site")
	errForm        = errors.New("form cannot be read")
	errClosed      = errors.New("health authority is suspended or leaving")
	errNoChange    = errors.New("nothing was changed")
	errUnlinked    = errors.New("account at the authority's own provider is nobody's")
	errOutside     = errors.New("address outside the health authority's networks")
)

// known is how the portal answers an error.
type known struct {
	cause  error
	status int
	// field is the form field to put right. Empty: the answer is a page of its own,
	// or the login page for what [oidc] reports.
	field string
	// message says what is wrong, the heading of a page; advice what to do next.
	message, advice string
}

// The IDs of form fields, which are also their names.
const (
	fieldTestType = "test_type"
	fieldSymptom  = "symptom_date"
	fieldTest     = "test_date"
	fieldPhone    = "phone"
	fieldMessage  = "message_text"
	fieldID       = "id"
	fieldName     = "name"
	fieldEmail    = "email"
	fieldRoles    = "roles"
	fieldFile     = "file"
)

// knownErrors is the one table from errors to answers. An error that is not in it
// becomes a page that tells nothing but the request's ID.
func knownErrors() []known {
	return []known{
		{errNoPage, http.StatusNotFound, "", "error.missing", "error.missing.advice"},
		{tenant.ErrUnknown, http.StatusNotFound, "", "error.missing", "error.missing.advice"},
		{rehearsal.ErrNotSandbox, http.StatusNotFound, "", "error.missing", "error.missing.advice"},
		{member.ErrNotMember, http.StatusNotFound, "", "error.missing", "error.missing.advice"},
		{platform.ErrNotOperator, http.StatusNotFound, "", "error.missing", "error.missing.advice"},
		{platform.ErrReason, http.StatusUnprocessableEntity, fieldReason, "operator.error.reason", ""},
		{platform.ErrState, http.StatusConflict, "", "operator.error.state", "operator.error.state.advice"},
		{member.ErrNoSuchMember, http.StatusNotFound, "", "staff.error.no_member", "staff.error.gone.advice"},
		{member.ErrNoSuchGroup, http.StatusNotFound, "", "staff.error.no_group", "staff.error.gone.advice"},
		{member.ErrNoInvitation, http.StatusNotFound, "", "staff.error.no_invitation", "staff.error.gone.advice"},
		{member.ErrSuspended, http.StatusForbidden, "", "staff.error.suspended", "staff.error.suspended.advice"},
		{member.ErrLastOwner, http.StatusConflict, "", "staff.error.last_owner", "staff.error.last_owner.advice"},
		{member.ErrOwnerChange, http.StatusConflict, "", "owner.error.two", "owner.error.two.advice"},
		{member.ErrOwnerAlready, http.StatusConflict, "", "owner.error.already", "owner.error.already.advice"},
		{member.ErrOwnerInactive, http.StatusConflict, "", "owner.error.inactive", "owner.error.inactive.advice"},
		{approval.ErrReason, http.StatusUnprocessableEntity, fieldReason, "approvals.error.reason", ""},
		{approval.ErrSamePerson, http.StatusForbidden, "", "approvals.error.same", "approvals.error.same.advice"},
		{approval.ErrExpired, http.StatusConflict, "", "approvals.error.expired", "approvals.error.again"},
		{approval.ErrDecided, http.StatusConflict, "", "approvals.error.decided", "approvals.error.decided.advice"},
		{approval.ErrNoRequest, http.StatusNotFound, "", "approvals.error.missing", "approvals.error.decided.advice"},
		{approval.ErrNotApproved, http.StatusConflict, "", "approvals.error.changed", "approvals.error.again"},
		{approval.ErrAsked, http.StatusConflict, "", "approvals.error.asked", "approvals.error.asked.advice"},
		{approval.ErrRequesterGone, http.StatusConflict, "", "approvals.error.gone", "approvals.error.gone.advice"},
		{member.ErrOutsideOwner, http.StatusConflict, "", "account.error.owner", "account.error.owner.advice"},
		{member.ErrLinkOther, http.StatusForbidden, "", "account.error.other", "account.error.other.advice"},
		{member.ErrLinkTwice, http.StatusConflict, "", "account.error.twice", "account.error.twice.advice"},
		{member.ErrLinkSame, http.StatusConflict, "", "account.error.same", "account.error.same.advice"},
		{member.ErrNoPlatformLogin, http.StatusConflict, "", "account.error.no_platform", "account.error.no_platform.advice"},
		{errUnlinked, http.StatusForbidden, "", "account.unlinked", "account.unlinked.advice"},
		{member.ErrFull, http.StatusConflict, "", "staff.error.full", "staff.error.full.advice"},
		{member.ErrName, http.StatusUnprocessableEntity, fieldName, "staff.error.name", ""},
		{member.ErrEmail, http.StatusUnprocessableEntity, fieldEmail, "staff.error.email", ""},
		{member.ErrAlreadyInvited, http.StatusUnprocessableEntity, fieldEmail, "staff.error.invited", ""},
		{member.ErrAlreadyMember, http.StatusUnprocessableEntity, fieldEmail, "staff.error.member", ""},
		{member.ErrRoles, http.StatusUnprocessableEntity, fieldRoles, "staff.error.roles", ""},
		{member.ErrRosterForm, http.StatusUnprocessableEntity, fieldFile, "import.error.form", ""},
		{member.ErrRosterSize, http.StatusUnprocessableEntity, fieldFile, "import.error.size", ""},
		{member.ErrRoster, http.StatusUnprocessableEntity, fieldFile, "import.error.rows", ""},
		{member.ErrInvitationUnknown, http.StatusNotFound, "", "join.error.unknown", "join.error.unknown.advice"},
		{member.ErrInvitationExpired, http.StatusGone, "", "join.error.expired", "join.error.expired.advice"},
		{member.ErrInvitationRevoked, http.StatusGone, "", "join.error.revoked", "join.error.revoked.advice"},
		{member.ErrInvitationUsed, http.StatusConflict, "", "join.error.used", "join.error.used.advice"},
		{member.ErrInvitationOther, http.StatusForbidden, "", "join.error.other", "join.error.other.advice"},
		{support.ErrNotInvited, http.StatusNotFound, "", "error.missing", "error.missing.advice"},
		{support.ErrEmail, http.StatusUnprocessableEntity, fieldEmail, "support.error.email", ""},
		{support.ErrRole, http.StatusUnprocessableEntity, fieldRole, "support.error.role", ""},
		{support.ErrBorrowed, http.StatusForbidden, "", "support.error.borrowed", "support.error.borrowed.advice"},
		{support.ErrTime, http.StatusUnprocessableEntity, fieldHours, "support.error.time", ""},
		{support.ErrNoGrant, http.StatusNotFound, "", "support.error.missing", "support.error.missing.advice"},
		{custody.ErrPurpose, http.StatusNotFound, "", "keys.error.purpose", "keys.error.advice"},
		{custody.ErrNoRotation, http.StatusNotFound, "", "keys.error.rotation", "keys.error.advice"},
		{key.ErrNoVersion, http.StatusNotFound, "", "keys.error.purpose", "keys.error.advice"},
		{key.ErrRotating, http.StatusConflict, "", "keys.error.rotating", "keys.error.rotating.advice"},
		{custody.ErrStep, http.StatusConflict, "", "keys.error.step", "keys.error.advice"},
		{custody.ErrUnready, http.StatusConflict, "", "keys.error.unready", "keys.error.unready.advice"},
		{custody.ErrNotRehearsed, http.StatusConflict, "", "keys.error.rehearsed", "keys.error.rehearsed.advice"},
		{custody.ErrPeriod, http.StatusUnprocessableEntity, fieldPeriod, "keys.error.period", ""},
		{custody.ErrReason, http.StatusUnprocessableEntity, fieldReason, "keys.error.reason", ""},
		{custody.ErrContact, http.StatusUnprocessableEntity, fieldContact, "keys.error.contact", ""},
		{leaving.ErrTyped, http.StatusUnprocessableEntity, fieldTyped, "leaving.error.typed", ""},
		{leaving.ErrState, http.StatusConflict, "", "leaving.error.state", "leaving.error.state.advice"},
		{archive.ErrRecipient, http.StatusUnprocessableEntity, fieldAgeKey, "archive.error.recipient", ""},
		{exports.ErrSound, http.StatusConflict, "", "regenerate.error.sound", "regenerate.error.sound.advice"},
		{shelf.ErrKeysStay, http.StatusConflict, "", "archive.error.keys", "archive.error.keys.advice"},
		{shelf.ErrBusy, http.StatusConflict, "", "archive.error.busy", "archive.error.busy.advice"},
		{shelf.ErrNoArchive, http.StatusNotFound, "", "archive.error.missing", "archive.error.missing.advice"},
		{shelf.ErrExpired, http.StatusGone, "", "archive.error.expired", "archive.error.expired.advice"},
		{leaving.ErrNotLeaving, http.StatusConflict, "", "leaving.error.stays", "leaving.error.stays.advice"},
		{errMethod, http.StatusMethodNotAllowed, "", "error.missing", "error.missing.advice"},
		{errCrossOrigin, http.StatusForbidden, "", "error.origin", "error.origin.advice"},
		{errForm, http.StatusBadRequest, "", "error.form", "error.form.advice"},
		{errClosed, http.StatusForbidden, "", "closed.suspended", "closed.suspended.advice"},
		{errOutside, http.StatusUnauthorized, "", "error.outside", "error.outside.advice"},
		{authz.ErrForbidden, http.StatusForbidden, "", "error.forbidden", "error.forbidden.advice"},

		{oidc.ErrState, http.StatusBadRequest, "", "login.error.state", ""},
		{oidc.ErrDenied, http.StatusForbidden, "", "login.error.denied", ""},
		{oidc.ErrProvider, http.StatusServiceUnavailable, "", "login.error.provider", ""},
		{oidc.ErrToken, http.StatusBadRequest, "", "login.error.token", ""},
		{oidc.ErrStale, http.StatusForbidden, "", "login.error.stale", ""},
		{oidc.ErrNoAuthTime, http.StatusForbidden, "", "login.error.no_auth_time", ""},
		{oidc.ErrEmail, http.StatusForbidden, "", "login.error.email", ""},
		{oidc.ErrEmailUnverified, http.StatusForbidden, "", "login.error.unverified", ""},
		{oidc.ErrDomain, http.StatusForbidden, "", "login.error.domain", ""},
		{oidc.ErrAssurance, http.StatusForbidden, "", "login.error.assurance", ""},

		{verification.ErrInvalidTestType, http.StatusUnprocessableEntity, fieldTestType, "issue.error.test_type", ""},
		{verification.ErrUnsupportedTestType, http.StatusUnprocessableEntity, fieldTestType, "issue.error.unsupported", ""},
		{verification.ErrMissingDate, http.StatusUnprocessableEntity, fieldSymptom, "issue.error.no_date", ""},
		{verification.ErrInvalidDate, http.StatusUnprocessableEntity, fieldSymptom, "issue.error.date", ""},
		{verification.ErrUnparsable, http.StatusUnprocessableEntity, fieldSymptom, "issue.error.unreadable", ""},
		{verification.ErrPhoneInvalid, http.StatusUnprocessableEntity, fieldPhone, "issue.error.phone", ""},
		{verification.ErrEmailInvalid, http.StatusUnprocessableEntity, fieldEmail, "resend.error.mail", ""},
		{verification.ErrMissingPhone, http.StatusUnprocessableEntity, fieldPhone, "issue.error.no_phone", ""},
		{verification.ErrReportedBefore, http.StatusUnprocessableEntity, fieldPhone, "issue.error.reported", ""},
		{verification.ErrNoProvider, http.StatusUnprocessableEntity, fieldPhone, "issue.error.no_provider", ""},
		{verification.ErrSMSFailed, http.StatusUnprocessableEntity, fieldPhone, "issue.error.sms", ""},
		{verification.ErrSMSQueueFull, http.StatusUnprocessableEntity, fieldPhone, "issue.error.sms", ""},
		{verification.ErrCodeNotFound, http.StatusNotFound, fieldID, "lookup.error.missing", ""},

		{idp.ErrName, http.StatusUnprocessableEntity, fieldProviderName, "provider.error.name", ""},
		{idp.ErrIssuer, http.StatusUnprocessableEntity, fieldIssuer, "provider.error.issuer", ""},
		{idp.ErrClientID, http.StatusUnprocessableEntity, fieldClientID, "provider.error.client_id", ""},
		{idp.ErrSecret, http.StatusUnprocessableEntity, fieldSecret, "provider.error.secret", ""},
		{idp.ErrScopes, http.StatusUnprocessableEntity, fieldScopes, "provider.error.scopes", ""},
		{idp.ErrDomains, http.StatusUnprocessableEntity, fieldDomains, "provider.error.domains", ""},
		{idp.ErrClaim, http.StatusUnprocessableEntity, fieldClaim, "provider.error.claim", ""},
		{idp.ErrRoles, http.StatusUnprocessableEntity, fieldRoleMap, "provider.error.roles", ""},
		{idp.ErrStrength, http.StatusUnprocessableEntity, fieldACR, "provider.error.strength", ""},
		{idp.ErrDomain, http.StatusUnprocessableEntity, fieldDomain, "provider.error.domain", ""},
		{idp.ErrUnproved, http.StatusUnprocessableEntity, fieldDomain, "provider.error.unproved", ""},
		{idp.ErrMissing, http.StatusNotFound, "", "error.missing", "error.missing.advice"},
		{idp.ErrChanged, http.StatusConflict, "", "provider.error.changed", "provider.error.changed.advice"},
		{idp.ErrUntried, http.StatusConflict, "", "provider.error.untried", "provider.error.untried.advice"},
		{idp.ErrNoOwner, http.StatusConflict, "", "provider.error.owner", "provider.error.owner.advice"},
		{idp.ErrFull, http.StatusConflict, "", "provider.error.full", "provider.error.full.advice"},

		{sharing.ErrRecipient, http.StatusUnprocessableEntity, fieldRecipient, "sharing.error.recipient", ""},
		{sharing.ErrOffered, http.StatusUnprocessableEntity, fieldRecipient, "sharing.error.offered", ""},
		{sharing.ErrOften, http.StatusTooManyRequests, fieldRecipient, "sharing.error.often", ""},
		{sharing.ErrRegions, http.StatusUnprocessableEntity, fieldRegions, "sharing.error.regions", ""},
		{sharing.ErrNoOffer, http.StatusNotFound, "", "sharing.error.missing", "sharing.error.missing.advice"},

		{role.ErrUnknown, http.StatusNotFound, "", "roles.error.missing", "roles.error.missing.advice"},
		{role.ErrName, http.StatusUnprocessableEntity, fieldRole, "roles.error.name", ""},
		{role.ErrTaken, http.StatusUnprocessableEntity, fieldRole, "roles.error.taken", ""},
		{role.ErrTooMany, http.StatusUnprocessableEntity, fieldRules, "roles.error.many", ""},
		{role.ErrDescription, http.StatusUnprocessableEntity, fieldDescription, "roles.error.description", ""},
		{role.ErrEmpty, http.StatusUnprocessableEntity, fieldRules, "roles.error.empty", ""},
		{role.ErrLacking, http.StatusUnprocessableEntity, fieldRules, "roles.error.lacking", ""},
		{role.ErrChanged, http.StatusConflict, fieldRules, "roles.error.changed", ""},
		{errNoChange, http.StatusUnprocessableEntity, fieldRules, "roles.error.unchanged", ""},
		{role.ErrHeld, http.StatusConflict, "", "roles.error.held", "roles.error.held.advice"},
		{client.ErrKind, http.StatusUnprocessableEntity, fieldKind, "apikey.error.kind", ""},
		{client.ErrName, http.StatusUnprocessableEntity, fieldKeyName, "apikey.error.name", ""},
		{client.ErrNameTaken, http.StatusUnprocessableEntity, fieldKeyName, "apikey.error.name_taken", ""},
		{client.ErrExpiry, http.StatusUnprocessableEntity, fieldExpires, "apikey.error.expires", ""},
		{client.ErrNetworks, http.StatusUnprocessableEntity, fieldNetworks, "apikey.error.networks", ""},
		{client.ErrDeviceNetworks, http.StatusUnprocessableEntity, fieldNetworks, "apikey.error.device_networks", ""},
		{client.ErrOverlap, http.StatusUnprocessableEntity, fieldOverlap, "apikey.error.overlap", ""},
		{client.ErrTooMany, http.StatusUnprocessableEntity, "", "apikey.error.many", "apikey.error.many.advice"},
		{client.ErrReplaced, http.StatusConflict, "", "apikey.error.replaced", "apikey.error.replaced.advice"},
		{client.ErrUnknownKey, http.StatusNotFound, "", "apikey.error.missing", "apikey.error.missing.advice"},

		{setting.ErrValue, http.StatusUnprocessableEntity, fieldOptions, "options.error.form", ""},
		{setting.ErrChanged, http.StatusConflict, fieldOptions, "options.error.changed", ""},
		{setting.ErrLocked, http.StatusUnprocessableEntity, fieldOptions, "options.error.locked", ""},
		{setting.ErrOperator, http.StatusUnprocessableEntity, fieldOptions, "options.error.operator", ""},
		{setting.ErrSame, http.StatusUnprocessableEntity, fieldOptions, "options.error.same", ""},
		{errShutOut, http.StatusUnprocessableEntity, fieldOptions, "options.error.shut_out.form", ""},

		{alert.ErrFigure, http.StatusUnprocessableEntity, fieldFigure, "alerts.error.figure", ""},
		{alert.ErrThreshold, http.StatusUnprocessableEntity, fieldThreshold, "alerts.error.threshold", ""},
		{alert.ErrEmails, http.StatusUnprocessableEntity, fieldEmails, "alerts.error.emails", ""},
		{alert.ErrNobody, http.StatusUnprocessableEntity, fieldEmails, "alerts.error.nobody", ""},
		{alert.ErrWebhook, http.StatusUnprocessableEntity, fieldWebhook, "alerts.error.webhook", ""},
		{alert.ErrSecret, http.StatusUnprocessableEntity, fieldHookKey, "alerts.error.secret", ""},
		{alert.ErrFull, http.StatusConflict, "", "alerts.error.full", "alerts.error.full.advice"},
		{alert.ErrUnknown, http.StatusNotFound, "", "alerts.error.missing", "alerts.error.missing.advice"},
		{verification.ErrBatchDisabled, http.StatusConflict, "", "bulk.off", "bulk.off.text"},
		{sheet.ErrText, http.StatusUnprocessableEntity, fieldFile, "bulk.error.text", ""},
		{sheet.ErrForm, http.StatusUnprocessableEntity, fieldFile, "bulk.error.form", ""},
		{sheet.ErrHeadings, http.StatusUnprocessableEntity, fieldFile, "bulk.error.headings", ""},
		{sheet.ErrEmpty, http.StatusUnprocessableEntity, fieldFile, "bulk.error.empty", ""},
		{sheet.ErrRows, http.StatusUnprocessableEntity, fieldFile, "bulk.error.rows", ""},
		{sheet.ErrSize, http.StatusRequestEntityTooLarge, fieldFile, "bulk.error.size", ""},
		{sheet.ErrColumns, http.StatusUnprocessableEntity, string(sheet.TestType), "bulk.error.columns", ""},
		{sheet.ErrNotFound, http.StatusNotFound, "", "bulk.error.no_file", "bulk.error.no_file.advice"},
		{sheet.ErrUnchecked, http.StatusConflict, "", "bulk.error.unchecked", "bulk.error.unchecked.advice"},
		{batch.ErrKeyUsed, http.StatusConflict, "", "bulk.error.used", "bulk.error.used.advice"},
		{batch.ErrTooMany, http.StatusConflict, "", "bulk.error.many", "bulk.error.many.advice"},
		{batch.ErrNotFound, http.StatusNotFound, "", "bulk.error.missing", "bulk.error.missing.advice"},
		{batch.ErrFinished, http.StatusConflict, "", "bulk.error.finished", "bulk.error.finished.advice"},
		{batch.ErrNothingFailed, http.StatusConflict, "", "bulk.error.retry", "bulk.error.retry.advice"},
		{batch.ErrOthers, http.StatusForbidden, "", "bulk.error.others", "bulk.error.others.advice"},
		{quota.ErrBurst, http.StatusUnprocessableEntity, fieldCodes, "headroom.error.codes", ""},
		{template.ErrRules, http.StatusUnprocessableEntity, fieldBody, "texts.error.rules", ""},
		{template.ErrChanged, http.StatusConflict, fieldBody, "texts.error.changed", ""},
		{template.ErrUnknown, http.StatusNotFound, "", "texts.error.missing", "texts.error.missing.advice"},
		{template.ErrTests, http.StatusTooManyRequests, fieldPhone, "texts.error.tests", ""},

		{pack.ErrStep, http.StatusNotFound, "", "error.missing", "error.missing.advice"},
		{pack.ErrNoPack, http.StatusNotFound, "", "pack.error.missing", "pack.error.missing.advice"},
		{pack.ErrChanged, http.StatusConflict, "", "pack.error.changed", "pack.error.changed.advice"},
		{pack.ErrTooLong, http.StatusRequestEntityTooLarge, "", "pack.error.long", "pack.error.long.advice"},
		{pack.ErrNotReady, http.StatusConflict, "", "pack.error.not_ready", "pack.error.not_ready.advice"},
		{pack.ErrRecipient, http.StatusUnprocessableEntity, fieldPerson, "pack.error.recipient", ""},
		{pack.ErrPushOff, http.StatusConflict, "", "pack.error.push_off", "pack.error.push_off.advice"},
		{pack.ErrPushing, http.StatusConflict, "", "pack.error.pushing", "pack.error.pushing.advice"},
		{pack.ErrNothing, http.StatusConflict, "", "pack.error.nothing", "pack.error.nothing.advice"},
		{enx.ErrLanguage, http.StatusUnprocessableEntity, fieldLanguages, "pack.error.languages", ""},
		{enx.ErrTranslations, http.StatusUnprocessableEntity, fieldFile, "pack.error.sheet", ""},

		{signup.ErrAddress, http.StatusUnprocessableEntity, fieldEmail, "signup.error.address", ""},
		{signup.ErrOtherDomain, http.StatusUnprocessableEntity, fieldAddress, "signup.error.other_domain", ""},
		{signup.ErrLetters, http.StatusTooManyRequests, fieldAddress, "signup.error.letters", ""},
		{signup.ErrNoRecord, http.StatusUnprocessableEntity, fieldRecord, "signup.error.record", ""},
		{signup.ErrDNS, http.StatusServiceUnavailable, fieldRecord, "signup.error.dns", ""},
		{signup.ErrLink, http.StatusNotFound, "", "signup.error.link", "signup.error.link.advice"},
		{signup.ErrLinkUsed, http.StatusGone, "", "signup.error.used", "signup.error.used.advice"},
		{signup.ErrLinkExpired, http.StatusGone, "", "signup.error.expired", "signup.error.expired.advice"},
		{signup.ErrOtherBrowser, http.StatusForbidden, "", "signup.error.browser", "signup.error.browser.advice"},
		{signup.ErrState, http.StatusConflict, "", "signup.error.state", "signup.error.state.advice"},
		{signup.ErrNone, http.StatusNotFound, "", "signup.error.none", "signup.error.none.advice"},
		{signup.ErrBusy, http.StatusTooManyRequests, "", "signup.error.busy", "signup.error.busy.advice"},

		{verification.ErrUUIDExists, http.StatusConflict, "", "repeated.heading", "repeated.text"},
		{verification.ErrAlreadyClaimed, http.StatusConflict, "", "error.claimed", "error.claimed.advice"},
		{verification.ErrMaintenance, http.StatusTooManyRequests, "", "error.maintenance", "error.maintenance.advice"},
		{verification.ErrQuota, http.StatusTooManyRequests, "", "error.quota", "error.quota.advice"},
		{verification.ErrNoFreeCode, http.StatusServiceUnavailable, "", "error.busy", "error.busy.advice"},

		{message.ErrPhone, http.StatusUnprocessableEntity, fieldPhone, "issue.error.phone", ""},
		{message.ErrNoProvider, http.StatusUnprocessableEntity, fieldPhone, "texts.error.provider", ""},
		{message.ErrQueueFull, http.StatusUnprocessableEntity, fieldPhone, "texts.error.sms", ""},
		{message.ErrFailed, http.StatusUnprocessableEntity, fieldPhone, "texts.error.sms", ""},
	}
}

// unmet lists the domain's errors that no page can cause: they answer phones and
// programs, are about what no form can say, or are answered by how things stand now. As
// unknown ones they would be reported as faults.
func unmet() []error {
	return []error{
		verification.ErrNothingToGenerate, verification.ErrTemplate, verification.ErrCodeInvalid,
		verification.ErrCodeExpired, verification.ErrTokenInvalid, verification.ErrTokenExpired,
		verification.ErrHMACInvalid, verification.ErrMissingNonce, verification.ErrBatchSize,
		batch.ErrKey, batch.ErrEmpty, batch.ErrTooLarge, batch.ErrRow, batch.ErrUnworkable,
		rehearsal.ErrOver, rehearsal.ErrBusy,
		setting.ErrUnknown, message.ErrTemplate, signup.ErrTaken, signup.ErrAuthorityID, signup.ErrReason, authz.ErrRule, authz.ErrRoute, member.ErrUserNameFixed, platform.ErrOperator,
	}
}

func lookUp(err error) (known, bool) {
	for _, k := range knownErrors() {
		if errors.Is(err, k.cause) {
			return k, true
		}
	}
	return known{}, false
}

// ofLogin reports whether k is about signing in.
func (k known) ofLogin() bool { return slices.Contains(oidc.Sentinels(), k.cause) }

// errorPage is what an error page shows besides its heading.
type errorPage struct {
	Advice    string
	RequestID string
	// Link leads on, LinkText says where to.
	Link, LinkText string
}

// answerError turns an error that no handler dealt with into a page.
func (s *Server) answerError(ctx context.Context, w http.ResponseWriter, v *visit, err error) answer {
	var wait limited
	if errors.As(err, &wait) {
		a := s.errorAnswer(w, v, known{status: http.StatusTooManyRequests, message: "error.limited", advice: "error.limited.advice"})
		a.retry = wait.seconds
		return a
	}
	k, found := lookUp(err)
	switch {
	case !found:
		s.logFailure(ctx, requestID(w), err)
		k = known{status: http.StatusInternalServerError, message: "error.internal", advice: "error.internal.advice"}
	case errors.Is(err, errClosed):
		return s.closed(v, k)
	case errors.Is(err, errUnlinked):
		return s.unlinked(w, v, k)
	case k.ofLogin():
		s.config.Log.WarnContext(ctx, "sign-in failed", "request", requestID(w), "error", err)
		return s.loginFailed(v, k)
	}
	return s.errorAnswer(w, v, k)
}

func (s *Server) errorAnswer(w http.ResponseWriter, v *visit, k known) answer {
	p := errorPage{RequestID: requestID(w), Link: s.start(), LinkText: s.words.text("error.start")}
	if k.advice != "" {
		p.Advice = s.words.text(k.advice)
	}
	if v.tenant != nil {
		p.Link, p.LinkText = v.path("/"), s.words.text("error.back", "authority", v.tenant.Name)
	}
	return answer{status: k.status, page: "error", heading: s.words.text(k.message), data: p}
}

// loginFailed shows why somebody is not signed in, with the way to try again.
func (s *Server) loginFailed(v *visit, k known) answer {
	again := v.again
	if again == "" {
		again = startPath("", "")
	}
	return answer{
		status: k.status, page: "login", heading: s.words.text("login.heading"),
		problems: []problem{{Text: s.words.text(k.message)}},
		data:     loginPage{Start: again},
	}
}
