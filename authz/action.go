package authz

import "slices"

// Action is something that a subject may be allowed to do within one tenant.
// Permissions name actions, never URLs, so that moving a page changes no policy.
type Action string

// What staff do, in the portal and through their own systems.
const (
	// CodeIssue is issuing one verification code.
	CodeIssue Action = "code:issue"
	// CodeBulkIssue is issuing many codes in one request. It is asked for beside
	// CodeIssue, not instead of it.
	CodeBulkIssue Action = "code:bulk-issue"
	// CodeRead is seeing whether a code was used, and until when it may be.
	CodeRead Action = "code:read"
	// CodeExpire is ending the life of a code that was not used.
	CodeExpire Action = "code:expire"
	// LabSubmit is handing in laboratory results, from which codes are issued, and
	// seeing to those that could not be used.
	LabSubmit Action = "lab:submit"
	// LabMap is changing how laboratory results are read.
	LabMap Action = "lab:map"
	// StatsRead is seeing the tenant's statistics.
	StatsRead Action = "stats:read"
	// MemberRead is seeing who the staff are and which roles they have.
	MemberRead Action = "member:read"
	// MemberWrite is inviting staff, ending their membership and changing the
	// roles of a member. A role can be given only by somebody who holds all that
	// it allows: see [Policies.CheckGrant].
	MemberWrite Action = "member:write"
	// RoleWrite is writing the tenant's own rules.
	RoleWrite Action = "role:write"
	// APIKeyRead is seeing which API keys exist; never the keys themselves.
	APIKeyRead Action = "apikey:read"
	// APIKeyWrite is making and disabling API keys.
	APIKeyWrite Action = "apikey:write"
	// KeyRead is seeing signing keys' versions and states; never private parts.
	KeyRead Action = "key:read"
	// KeyRequestRotation is asking for the next version of a signing key.
	KeyRequestRotation Action = "key:request-rotation"
	// KeyApproveRotation is putting the next version to use. That requester and
	// approver are two people is for the tenant's key rules to check.
	KeyApproveRotation Action = "key:approve-rotation"
	// ExportRead is seeing which export files were published.
	ExportRead Action = "export:read"
	// ExportRegenerate is having export files made again.
	ExportRegenerate Action = "export:regenerate"
	// SharingOffer is offering the tenant's keys to another tenant, and withdrawing
	// what was offered.
	SharingOffer Action = "sharing:offer"
	// SharingAccept is answering other tenants' offers, and ending what was accepted.
	SharingAccept Action = "sharing:accept"
	// SharingView is seeing who shares with whom, and how many keys went where.
	SharingView Action = "sharing:view"
	// SettingsRead is seeing the tenant's settings.
	SettingsRead Action = "settings:read"
	// SettingsWrite is changing them.
	SettingsWrite Action = "settings:write"
	// AuditRead is reading the audit log.
	AuditRead Action = "audit:read"
	// OwnerRequest is asking that somebody becomes an owner, or ceases to be one.
	OwnerRequest Action = "owner:request-change"
	// OwnerApprove is letting such a change happen. That requester and approver are two
	// people is for the tenant's approvals to check.
	OwnerApprove Action = "owner:approve-change"
	// PackRead is seeing the configuration that Apple and Google are given.
	PackRead Action = "pack:read"
	// PackWrite is writing it, and noting that it was handed over.
	PackWrite Action = "pack:write"
	// PackPush is sending it to Apple, signed with the export key.
	PackPush Action = "pack:push"
	// SelfTestRun is having the tenant's servers try themselves.
	SelfTestRun Action = "selftest:run"
	// TenantArchive is taking all of the tenant's data away in a file.
	TenantArchive Action = "tenant:archive"
	// TenantLeave is asking for the tenant's departure, which ends in its erasure.
	TenantLeave Action = "tenant:leave"
	// TenantApproveErasure is letting it begin, as a second person.
	TenantApproveErasure Action = "tenant:approve-erasure"
)

// What phones do. No role of people has these, and no tenant can give them.
const (
	// DeviceVerify is exchanging a code for a token.
	DeviceVerify Action = "device:verify"
	// DeviceCertificate is exchanging a token for a certificate.
	DeviceCertificate Action = "device:certificate"
	// DeviceReport is asking for a code for a diagnosis of one's own.
	DeviceReport Action = "device:report"
)

// Actions lists every action: those of staff, then those of phones.
func Actions() []Action {
	return append(StaffActions(), DeviceVerify, DeviceCertificate, DeviceReport)
}

// RuleActions lists the ones that a tenant may put into rules of its own: those of staff but
// for what makes owners, which is for owners alone. A role that could let somebody approve
// an owner could be given to somebody by one owner alone.
func RuleActions() []Action {
	return slices.DeleteFunc(StaffActions(), func(a Action) bool { return a == OwnerRequest || a == OwnerApprove })
}

// StaffActions lists what staff do.
func StaffActions() []Action {
	return []Action{
		CodeIssue, CodeBulkIssue, CodeRead, CodeExpire,
		LabSubmit, LabMap,
		StatsRead,
		MemberRead, MemberWrite, RoleWrite,
		APIKeyRead, APIKeyWrite,
		KeyRead, KeyRequestRotation, KeyApproveRotation,
		ExportRead, ExportRegenerate,
		SharingOffer, SharingAccept, SharingView,
		SettingsRead, SettingsWrite,
		AuditRead,
		OwnerRequest, OwnerApprove,
		PackRead, PackWrite, PackPush,
		SelfTestRun,
		TenantArchive, TenantLeave, TenantApproveErasure,
	}
}

// Known reports whether a is one of [Actions].
func (a Action) Known() bool { return slices.Contains(Actions(), a) }
