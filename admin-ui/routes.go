package adminui

import (
	"slices"
	"strings"

	"carillon/authz"
)

// route is a declaration with what serves it. The list below is what is registered,
// so a handler without a declared guard cannot be reached.
type route struct {
	authz.Route
	// longest is how many bytes a form may have, if more than others.
	longest int64
	// patient is for what is large, and takes longer than a request has.
	patient bool
	// unattended is for what a page asks by itself, which does not keep the session.
	unattended bool
	handle     handler
	// whileClosed leaves the route open while the authority is suspended or leaving.
	whileClosed bool
}

// handler serves a request whose guard has let it through.
type handler func(*visit) (answer, error)

func (s *Server) routes() []route {
	list := s.doorRoutes()
	if s.config.Staff != nil {
		list = slices.Concat(list, s.portalRoutes(), s.accountRoutes(), s.codeRoutes(), s.statisticsRoutes(), s.exportRoutes(), s.sharingRoutes(), s.roleRoutes(), s.staffRoutes(), s.auditRoutes(), s.apiKeyRoutes(), s.providerRoutes())
	}
	if s.config.Staff != nil && s.config.Packs != nil {
		list = slices.Concat(list, s.packRoutes())
	}
	if s.config.Signup != nil {
		list = slices.Concat(list, s.signupRoutes())
	}
	if s.config.Operators != nil {
		list = slices.Concat(list, s.operatorRoutes())
	}
	if s.config.Operators != nil && s.config.Desk != nil {
		list = slices.Concat(list, s.deskRoutes())
	}
	if s.config.Staff != nil && s.config.Keys != nil {
		list = slices.Concat(list, s.keyRoutes())
	}
	if s.config.Staff != nil && s.config.Approvals != nil {
		list = slices.Concat(list, s.approvalRoutes())
	}
	if s.config.Staff != nil && s.config.Options != nil {
		list = slices.Concat(list, s.optionRoutes())
	}
	if s.config.Staff != nil && s.config.Wording != nil {
		list = slices.Concat(list, s.wordingRoutes())
	}
	if s.config.Staff != nil && s.config.Patients != nil {
		list = slices.Concat(list, s.patientRoutes())
	}
	if s.config.Staff != nil && s.config.Alerts != nil {
		list = slices.Concat(list, s.alertRoutes())
	}
	if s.config.Staff != nil && s.config.Budget != nil {
		list = append(list,
			staffed("GET /portal/:tenant/limits", authz.SettingsRead, limitPortal, s.showHeadroom),
			staffed("POST /portal/:tenant/limits", authz.SettingsWrite, limitPortal, s.addCodes))
	}
	if s.config.Staff != nil && s.config.SelfTests != nil {
		list = slices.Concat(list, s.selfTestRoutes())
	}
	if s.config.Staff != nil && s.config.Rehearsals != nil {
		list = slices.Concat(list, s.rehearsalRoutes())
	}
	if s.config.Staff != nil && s.config.Batches != nil {
		list = slices.Concat(list, s.bulkRoutes())
	}
	if s.config.Staff != nil && s.config.Support != nil {
		list = slices.Concat(list, s.supportRoutes())
	}
	if s.config.Staff != nil && s.config.Leaving != nil {
		list = slices.Concat(list, s.leavingRoutes())
	}
	if s.config.Staff != nil && s.config.Archives != nil {
		list = slices.Concat(list, s.archiveRoutes())
	}
	return list
}

// doorRoutes lead in and out.
func (s *Server) doorRoutes() []route {
	return []route{
		public("GET /", limitNone, s.root),
		public("GET /assets/:name", limitNone, s.asset),
		public("POST /language", limitNone, s.chooseLanguage),
		public("GET /login", limitSignIn, s.showLogin),
		public("GET /login/start", limitSignIn, s.startLogin),
		public("GET /login/callback", limitSignIn, s.finishLogin),
		public("GET /logout", limitSignIn, s.showLogout),
		public("POST /logout", limitSignIn, s.logout),
		vouched("POST /login/back-channel-logout", authz.TenantFromNone, s.endSessions),
	}
}

// portalRoutes lead staff to what they may do.
func (s *Server) portalRoutes() []route {
	return []route{
		public("POST /login/find", limitSignIn, s.findLogin),
		public("GET /login/callback/:provider", limitSignIn, s.finishLogin),
		ofAuthority("GET /portal/:tenant/login", s.showOwnLogin),
		ofAuthority("GET /portal/:tenant/login/start", s.startOwnLogin),
		ofAuthority("GET /portal/:tenant/login/keys/:provider", s.showClientKeys),
		vouched("POST /portal/:tenant/login/back-channel-logout/:provider", authz.TenantFromURL, s.endSessions),

		signedIn("GET /session", "says only that there is one", s.keepSession),
		signedIn("GET /portal", "lists only what knows the person", s.chooseAuthority),
		anyMember("GET /portal/:tenant/", "leads each member to what she may do", s.home),
	}
}

// accountRoutes are about the account with which somebody signs in.
func (s *Server) accountRoutes() []route {
	const open = "everybody has an account of her own"
	return []route{
		anyMember("GET /portal/:tenant/account", open, s.showAccount),
		fresh(anyMember("GET /portal/:tenant/account/link", open, s.startLink)),
		fresh(anyMember("GET /portal/:tenant/account/confirm", open, s.askLink)),
		fresh(anyMember("POST /portal/:tenant/account/confirm", open, s.link)),
	}
}

// signupRoutes are for people whom nobody knows yet.
func (s *Server) signupRoutes() []route {
	return []route{
		public("GET /signup", limitSignup, s.showSignup),
		public("POST /signup/link", limitLetter, s.sendLink),
		public("GET /signup/sent", limitSignup, s.showSent),
		public("GET /signup/link/:token", limitSignup, s.showLink),
		public("POST /signup/link/:token", limitSignup, s.followLink),
		public("GET /signup/application", limitSignup, s.showApplication),
		public("POST /signup/application", limitSignup, s.sendApplication),
		public("GET /signup/application/edit", limitSignup, s.editApplication),
		public("POST /signup/application/record", limitLetter, s.checkRecord),
		public("POST /signup/application/letter", limitLetter, s.sendProof),
		public("GET /signup/proof/:token", limitSignup, s.showProof),
		public("POST /signup/proof/:token", limitSignup, s.prove),
		public("GET /signup/proven", limitSignup, s.showProven),
	}
}

func (s *Server) operatorRoutes() []route {
	return []route{
		operated("GET /operator", authz.Support, s.showPlatform),
		operated("GET /operator/tenants/:slug", authz.Support, s.showTenant),
		fresh(operated("GET /operator/tenants/:slug/suspend", authz.Operator, s.askTenantSuspension)),
		fresh(operated("POST /operator/tenants/:slug/suspend", authz.Operator, s.suspendTenant)),
		fresh(operated("GET /operator/tenants/:slug/resume", authz.Operator, s.askTenantResumption)),
		fresh(operated("POST /operator/tenants/:slug/resume", authz.Operator, s.resumeTenant)),
		operated("GET /operator/log", authz.Operator, s.showActs),
	}
}

// deskRoutes are the queue of applications.
func (s *Server) deskRoutes() []route {
	return []route{
		operated("GET /operator/applications", authz.Operator, s.showQueue),
		operated("GET /operator/applications/:id", authz.Operator, s.reviewApplication),
		fresh(operated("GET /operator/applications/:id/approve", authz.Operator, s.askApproval)),
		fresh(operated("POST /operator/applications/:id/approve", authz.Operator, s.approve)),
		operated("GET /operator/applications/:id/ask", authz.Operator, s.askBack),
		operated("POST /operator/applications/:id/ask", authz.Operator, s.sendQuestion),
		fresh(operated("GET /operator/applications/:id/refuse", authz.Operator, s.askRefusal)),
		fresh(operated("POST /operator/applications/:id/refuse", authz.Operator, s.refuse)),
		operated("POST /operator/applications/:id/letter", authz.Operator, s.sendLetter),
	}
}

// approvalRoutes are for all staff: each kind of act says who may ask for it and decide, and
// whoever may neither sees nothing of it.
func (s *Server) approvalRoutes() []route {
	const open = "each kind of act has its own guard"
	return []route{
		anyMember("GET /portal/:tenant/approvals", open, s.showApprovals),
		fresh(anyMember("GET /portal/:tenant/approvals/:id", open, s.showRequest)),
		fresh(anyMember("POST /portal/:tenant/approvals/:id/approve", open, s.approveRequest)),
		fresh(anyMember("POST /portal/:tenant/approvals/:id/refuse", open, s.refuseRequest)),
		fresh(anyMember("POST /portal/:tenant/approvals/:id/withdraw", open, s.withdrawRequest)),
	}
}

func (s *Server) selfTestRoutes() []route {
	return []route{
		staffed("GET /portal/:tenant/self-test", authz.SelfTestRun, limitPortal, s.showSelfTest),
		staffed("POST /portal/:tenant/self-test", authz.SelfTestRun, limitPortal, s.runSelfTest),
	}
}

func (s *Server) supportRoutes() []route {
	return []route{
		staffed("GET /portal/:tenant/support", authz.MemberRead, limitPortal, s.showSupport),
		fresh(staffed("GET /portal/:tenant/support/new", authz.MemberWrite, limitPortal, s.newSupport)),
		fresh(staffed("POST /portal/:tenant/support/new", authz.MemberWrite, limitPortal, s.inviteSupport)),
		staffed("POST /portal/:tenant/support/:id/revoke", authz.MemberWrite, limitPortal, s.revokeSupport),
	}
}

func (s *Server) codeRoutes() []route {
	return []route{
		staffed("GET /portal/:tenant/codes/new", authz.CodeIssue, limitPortal, s.newCode),
		staffed("POST /portal/:tenant/codes/new", authz.CodeIssue, limitIssue, s.issueCode),
		staffed("GET /portal/:tenant/codes", authz.CodeRead, limitPortal, s.lookUpCode),
		staffed("POST /portal/:tenant/codes", authz.CodeRead, limitSearch, s.findCode),
		unattended(staffed("GET /portal/:tenant/codes/:id/state", authz.CodeRead, limitPortal, s.showState)),
		staffed("GET /portal/:tenant/codes/:id/send", authz.CodeIssue, limitPortal, s.askText),
		staffed("POST /portal/:tenant/codes/:id/send", authz.CodeIssue, limitIssue, s.sendText),
		staffed("GET /portal/:tenant/codes/:id/mail", authz.CodeIssue, limitPortal, s.askMail),
		staffed("POST /portal/:tenant/codes/:id/mail", authz.CodeIssue, limitIssue, s.sendMail),
		staffed("GET /portal/:tenant/codes/:id/expire", authz.CodeExpire, limitPortal, s.confirmExpiry),
		staffed("POST /portal/:tenant/codes/:id/expire", authz.CodeExpire, limitPortal, s.expireCode),
	}
}

func (s *Server) statisticsRoutes() []route {
	return []route{
		staffed("GET /portal/:tenant/statistics", authz.StatsRead, limitPortal, s.showStatistics),
		staffed("GET /portal/:tenant/statistics/file", authz.StatsRead, limitPortal, s.exportStatistics),
	}
}

func (s *Server) exportRoutes() []route {
	return []route{
		staffed("GET /portal/:tenant/exports", authz.ExportRead, limitPortal, s.showExports),
		staffed("GET /portal/:tenant/exports/:window/regenerate", authz.ExportRegenerate, limitPortal, s.askRegenerate),
		staffed("POST /portal/:tenant/exports/:window/regenerate", authz.ExportRegenerate, limitPortal, s.regenerate),
	}
}

func (s *Server) sharingRoutes() []route {
	return []route{
		staffed("GET /portal/:tenant/sharing", authz.SharingView, limitPortal, s.showSharing),
		staffed("GET /portal/:tenant/sharing/seen", authz.SharingView, limitPortal, s.showSeen),
		staffed("GET /portal/:tenant/sharing/new", authz.SharingOffer, limitPortal, s.newOffer),
		staffed("POST /portal/:tenant/sharing/new", authz.SharingOffer, limitPortal, s.makeOffer),
		staffed("GET /portal/:tenant/sharing/:id/withdraw", authz.SharingOffer, limitPortal, s.askWithdrawal),
		staffed("POST /portal/:tenant/sharing/:id/withdraw", authz.SharingOffer, limitPortal, s.withdrawOffer),
		staffed("GET /portal/:tenant/sharing/:id/answer", authz.SharingAccept, limitPortal, s.askAnswer),
		staffed("POST /portal/:tenant/sharing/:id/accept", authz.SharingAccept, limitPortal, s.acceptOffer),
		staffed("POST /portal/:tenant/sharing/:id/decline", authz.SharingAccept, limitPortal, s.declineOffer),
		staffed("GET /portal/:tenant/sharing/:id/end", authz.SharingAccept, limitPortal, s.askEnd),
		staffed("POST /portal/:tenant/sharing/:id/end", authz.SharingAccept, limitPortal, s.endShare),
	}
}

func (s *Server) roleRoutes() []route {
	return []route{
		staffed("GET /portal/:tenant/roles", authz.MemberRead, limitPortal, s.showRoles),
		staffed("GET /portal/:tenant/roles/explain", authz.MemberRead, limitPortal, s.explain),
		fresh(staffed("GET /portal/:tenant/roles/new", authz.RoleWrite, limitPortal, s.newRole)),
		fresh(staffed("POST /portal/:tenant/roles/new", authz.RoleWrite, limitPortal, s.saveRole)),
		fresh(staffed("GET /portal/:tenant/roles/:role/edit", authz.RoleWrite, limitPortal, s.editRole)),
		fresh(staffed("POST /portal/:tenant/roles/:role/edit", authz.RoleWrite, limitPortal, s.saveRole)),
		fresh(staffed("GET /portal/:tenant/roles/:role/delete", authz.RoleWrite, limitPortal, s.askRoleDeletion)),
		fresh(staffed("POST /portal/:tenant/roles/:role/delete", authz.RoleWrite, limitPortal, s.deleteRole)),
	}
}

// staffRoutes are about who works here. Whoever follows an invitation is no member yet.
func (s *Server) staffRoutes() []route {
	const open = "an invitation says who may accept it"
	write := func(pattern string, h handler) route {
		return fresh(staffed(pattern, authz.MemberWrite, limitPortal, h))
	}
	return []route{
		staffed("GET /portal/:tenant/staff", authz.MemberRead, limitPortal, s.showStaff),
		write("GET /portal/:tenant/staff/invite", s.newInvitation),
		write("POST /portal/:tenant/staff/invite", s.invite),
		write("GET /portal/:tenant/staff/import", s.newImport),
		uploading(write("POST /portal/:tenant/staff/import", s.examineImport)),
		uploading(write("POST /portal/:tenant/staff/import/confirm", s.confirmImport)),
		write("POST /portal/:tenant/staff/unsent", s.sendUnsent),
		write("POST /portal/:tenant/staff/invitations/:id/resend", s.resendInvitation),
		write("GET /portal/:tenant/staff/invitations/:id/revoke", s.askRevocation),
		write("POST /portal/:tenant/staff/invitations/:id/revoke", s.revokeInvitation),
		write("GET /portal/:tenant/staff/people/:id", s.showPerson),
		write("POST /portal/:tenant/staff/people/:id", s.changeRoles),
		write("GET /portal/:tenant/staff/people/:id/suspend", s.askSuspension),
		write("POST /portal/:tenant/staff/people/:id/suspend", s.suspend),
		write("POST /portal/:tenant/staff/people/:id/resume", s.resume),
		write("GET /portal/:tenant/staff/people/:id/bring-back", s.askBringBack),
		write("POST /portal/:tenant/staff/people/:id/bring-back", s.bringBack),
		write("GET /portal/:tenant/staff/people/:id/remove", s.askRemoval),
		write("POST /portal/:tenant/staff/people/:id/remove", s.remove),
		fresh(staffed("GET /portal/:tenant/staff/people/:id/owner", authz.OwnerRequest, limitPortal, s.askOwner)),
		fresh(staffed("POST /portal/:tenant/staff/people/:id/owner", authz.OwnerRequest, limitPortal, s.changeOwner)),
		write("GET /portal/:tenant/staff/groups/:id", s.showGroup),
		write("POST /portal/:tenant/staff/groups/:id", s.mapGroup),

		public("GET /join/:tenant", limitSignIn, s.followInvitation),
		signedIn("GET /join/:tenant/accept", open, s.showInvitation),
		signedIn("POST /join/:tenant/accept", open, s.acceptInvitation),
	}
}

func (s *Server) auditRoutes() []route {
	return []route{
		whileClosed(staffed("GET /portal/:tenant/audit", authz.AuditRead, limitPortal, s.showAudit)),
		whileClosed(patient(staffed("GET /portal/:tenant/audit/log", authz.AuditRead, limitPortal, s.exportAudit))),
	}
}

// apiKeyRoutes are for API keys. To see a key asks for a fresh sign-in; to revoke one, when
// it is in wrong hands, does not.
func (s *Server) apiKeyRoutes() []route {
	return []route{
		staffed("GET /portal/:tenant/api-keys", authz.APIKeyRead, limitPortal, s.showAPIKeys),
		fresh(staffed("GET /portal/:tenant/api-keys/new", authz.APIKeyWrite, limitPortal, s.newAPIKey)),
		fresh(staffed("POST /portal/:tenant/api-keys/new", authz.APIKeyWrite, limitPortal, s.makeAPIKey)),
		staffed("GET /portal/:tenant/api-keys/:id", authz.APIKeyRead, limitPortal, s.showAPIKey),
		staffed("GET /portal/:tenant/api-keys/:id/report", authz.APIKeyRead, limitPortal, s.exportAPIKey),
		staffed("GET /portal/:tenant/api-keys/:id/change", authz.APIKeyWrite, limitPortal, s.askChangeOfAPIKey),
		staffed("POST /portal/:tenant/api-keys/:id/change", authz.APIKeyWrite, limitPortal, s.changeAPIKey),
		fresh(staffed("GET /portal/:tenant/api-keys/:id/rotate", authz.APIKeyWrite, limitPortal, s.askRotation)),
		fresh(staffed("POST /portal/:tenant/api-keys/:id/rotate", authz.APIKeyWrite, limitPortal, s.rotateAPIKey)),
		staffed("GET /portal/:tenant/api-keys/:id/revoke", authz.APIKeyWrite, limitPortal, s.askEndOfAPIKey),
		staffed("POST /portal/:tenant/api-keys/:id/revoke", authz.APIKeyWrite, limitPortal, s.revokeAPIKey),
		staffed("GET /portal/:tenant/api-keys/:id/codes", authz.APIKeyWrite, limitPortal, s.askEndOfCodes),
		staffed("POST /portal/:tenant/api-keys/:id/codes", authz.APIKeyWrite, limitPortal, s.endCodes),
	}
}

// uploading is the route with longer forms than others.
func uploading(r route) route {
	r.longest = maxUpload
	return r
}

// ofTable is the route with forms that have a large table.
func ofTable(r route) route {
	r.longest = maxTable
	return patient(r)
}

// patient is the route that may take its time over something large.
func patient(r route) route {
	r.patient = true
	return r
}

func unattended(r route) route {
	r.unattended = true
	return r
}

func (s *Server) providerRoutes() []route {
	changes := func(pattern string, h handler) route {
		return fresh(staffed(pattern, authz.SettingsWrite, limitPortal, h))
	}
	return []route{
		staffed("GET /portal/:tenant/sign-in", authz.SettingsRead, limitPortal, s.showProviders),
		staffed("GET /portal/:tenant/sign-in/:id", authz.SettingsRead, limitPortal, s.showProvider),
		changes("GET /portal/:tenant/sign-in/new", s.newProvider),
		changes("POST /portal/:tenant/sign-in/new", s.addProvider),
		changes("GET /portal/:tenant/sign-in/:id/change", s.editProvider),
		changes("POST /portal/:tenant/sign-in/:id/change", s.changeProvider),
		changes("GET /portal/:tenant/sign-in/:id/try", s.tryProvider),
		changes("GET /portal/:tenant/sign-in/:id/tried", s.showTrial),
		changes("GET /portal/:tenant/sign-in/:id/activate", s.askActivation),
		changes("POST /portal/:tenant/sign-in/:id/activate", s.activateProvider),
		changes("GET /portal/:tenant/sign-in/:id/off", s.askOff),
		changes("POST /portal/:tenant/sign-in/:id/off", s.switchOffProvider),
		changes("GET /portal/:tenant/sign-in/domains", s.showDomains),
		changes("POST /portal/:tenant/sign-in/domains", s.changeDomains),
	}
}

// optionRoutes are for what the authority chooses: a page for each group.
func (s *Server) optionRoutes() []route {
	list := []route{staffed("GET /portal/:tenant/settings", authz.SettingsRead, limitPortal, s.showOptions)}
	for _, g := range optionGroups() {
		if g.fixed {
			continue
		}
		path := " /portal/:tenant/settings/" + g.id
		list = append(list,
			fresh(staffed("GET"+path, authz.SettingsWrite, limitPortal, func(v *visit) (answer, error) { return s.editOptions(v, g) })),
			fresh(staffed("POST"+path, authz.SettingsWrite, limitPortal, func(v *visit) (answer, error) { return s.changeOptions(v, g) })))
	}
	return list
}

// wordingRoutes are for the texts of messages.
func (s *Server) wordingRoutes() []route {
	return []route{
		staffed("GET /portal/:tenant/texts", authz.SettingsRead, limitPortal, s.showWording),
		staffed("GET /portal/:tenant/texts/edit", authz.SettingsWrite, limitPortal, s.editText),
		staffed("POST /portal/:tenant/texts/edit", authz.SettingsWrite, limitPortal, s.saveText),
		staffed("POST /portal/:tenant/texts/measure", authz.SettingsWrite, limitPortal, s.measureText),
		staffed("GET /portal/:tenant/texts/remove", authz.SettingsWrite, limitPortal, s.askTextRemoval),
		staffed("POST /portal/:tenant/texts/remove", authz.SettingsWrite, limitPortal, s.removeText),
		staffed("GET /portal/:tenant/texts/test", authz.SettingsWrite, limitPortal, s.askTest),
		staffed("POST /portal/:tenant/texts/test", authz.SettingsWrite, limitPortal, s.testText),
	}
}

// alertRoutes are for alerts about figures. A webhook's secret is typed, so the form is fresh.
func (s *Server) patientRoutes() []route {
	return []route{
		staffed("GET /portal/:tenant/patients", authz.SettingsRead, limitPortal, s.showPatients),
		staffed("GET /portal/:tenant/patients/look", authz.SettingsWrite, limitPortal, s.editLook),
		staffed("POST /portal/:tenant/patients/look", authz.SettingsWrite, limitPortal, s.saveLook),
		staffed("GET /portal/:tenant/patients/text", authz.SettingsWrite, limitPortal, s.editPatientText),
		staffed("POST /portal/:tenant/patients/text", authz.SettingsWrite, limitPortal, s.savePatientText),
	}
}

func (s *Server) alertRoutes() []route {
	return []route{
		staffed("GET /portal/:tenant/alerts", authz.SettingsRead, limitPortal, s.showAlerts),
		fresh(staffed("GET /portal/:tenant/alerts/new", authz.SettingsWrite, limitPortal, s.newAlert)),
		fresh(staffed("POST /portal/:tenant/alerts/new", authz.SettingsWrite, limitPortal, s.addAlert)),
		staffed("GET /portal/:tenant/alerts/:id/remove", authz.SettingsWrite, limitPortal, s.askAlertRemoval),
		staffed("POST /portal/:tenant/alerts/:id/remove", authz.SettingsWrite, limitPortal, s.removeAlert),
	}
}

// ofAuthority is a route for anybody, about a health authority that may not exist.
func ofAuthority(pattern string, h handler) route {
	r := public(pattern, limitSignIn, h)
	r.TenantFrom = authz.TenantFromURL
	return r
}

// vouched is a route for an identity provider, which signs what it sends.
func vouched(pattern string, from authz.TenantFrom, h handler) route {
	r := declare(pattern, limitSignIn, h)
	r.Audience, r.Credential, r.TenantFrom = authz.AudienceBackend, authz.CredentialSignature, from
	return r
}

// public is a route for anybody.
func public(pattern, limit string, h handler) route {
	r := declare(pattern, limit, h)
	r.Audience, r.Credential, r.TenantFrom = authz.AudiencePublic, authz.CredentialNone, authz.TenantFromNone
	return r
}

// signedIn is a route for whoever signed in, whatever she belongs to.
func signedIn(pattern, open string, h handler) route {
	r := declare(pattern, limitPortal, h)
	r.Audience, r.Credential, r.TenantFrom, r.Open = authz.AudienceStaff, authz.CredentialSession, authz.TenantFromNone, open
	return r
}

// anyMember is a route for all staff of the health authority in the URL.
func anyMember(pattern, open string, h handler) route {
	r := signedIn(pattern, open, h)
	r.TenantFrom = authz.TenantFromURL
	return r
}

// staffed is a route for those of the authority's staff whom its policy allows a.
func staffed(pattern string, a authz.Action, limit string, h handler) route {
	r := declare(pattern, limit, h)
	r.Audience, r.Credential, r.TenantFrom, r.Action = authz.AudienceStaff, authz.CredentialSession, authz.TenantFromURL, a
	return r
}

// operated is a route for those who run the platform and have the role there, or a
// greater one.
func operated(pattern string, role authz.Role, h handler) route {
	r := declare(pattern, limitPortal, h)
	r.Audience, r.Credential, r.TenantFrom, r.Role = authz.AudienceOperator, authz.CredentialSession, authz.TenantFromNone, role
	return r
}

// whileClosed leaves r open to the staff of an authority that is suspended or leaving.
func whileClosed(r route) route {
	r.whileClosed = true
	return r
}

// fresh makes r a route for a sensitive act: whoever uses it has signed in within the
// last [freshLife], or is asked to do so again. Mark the page that has the form, too:
// then nothing is lost that was typed while the time ran out.
func fresh(r route) route {
	r.Credential = authz.CredentialFresh
	return r
}

func declare(pattern, limit string, h handler) route {
	method, path, _ := strings.Cut(pattern, " ")
	return route{Route: authz.Route{Method: method, Path: path, Limit: limit}, handle: h}
}
