package service

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"carillon/authz"
)

// example is a request that does something at a route, so that a guard that is missing
// shows.
type example struct {
	// objects are what stands for the parameters of the URL after the tenant, in their
	// order: names in [objectSQL].
	objects []string
	// form is what is sent, or asked for in the URL's query.
	form url.Values
	// before is SQL that lets the request do what it is for, also after it has done so.
	before string
	// draft is the table that keeps what was typed, also when it is refused.
	draft string
	// named are the fields of the form that name an object of a tenant, as objects do.
	named map[string]string
}

// examples are the requests to those routes of a tenant that need more than their URL, by
// method and path. The bodies of routes that take JSON are in bodies.
var examples = map[string]example{
	"GET /portal/:tenant/bulk":                          {form: url.Values{"before": {"5f2b1c4e-4f5f-4b6a-9d4b-0d7a6c1e2f3a"}}},
	"POST /portal/:tenant/bulk/new":                     {},
	"GET /portal/:tenant/bulk/files/:id":                {objects: []string{"table"}},
	"POST /portal/:tenant/bulk/files/:id":               {objects: []string{"table"}, form: url.Values{"test_type": {"0"}, "test_date": {"none"}, "symptom_date": {"none"}, "phone": {"none"}, "dates": {"ymd"}, "all_type": {""}}},
	"GET /portal/:tenant/bulk/files/:id/check":          {objects: []string{"table"}},
	"POST /portal/:tenant/bulk/files/:id/order":         {objects: []string{"table"}},
	"POST /portal/:tenant/bulk/files/:id/drop":          {objects: []string{"table"}},
	"GET /portal/:tenant/bulk/batches/:id":              {objects: []string{"batch"}},
	"GET /portal/:tenant/bulk/batches/:id/state":        {objects: []string{"batch"}},
	"POST /portal/:tenant/bulk/batches/:id/pause":       {objects: []string{"batch"}, before: batchRunning},
	"POST /portal/:tenant/bulk/batches/:id/resume":      {objects: []string{"batch"}, before: batchPaused},
	"POST /portal/:tenant/bulk/batches/:id/retry":       {objects: []string{"batch"}, before: batchRunning + `; update batch_row set state = 'failed', done_at = now(), sealed_order = 'sealed'`},
	"GET /portal/:tenant/bulk/batches/:id/cancel":       {objects: []string{"batch"}, before: batchRunning},
	"POST /portal/:tenant/bulk/batches/:id/cancel":      {objects: []string{"batch"}, before: batchRunning},
	"GET /portal/:tenant/bulk/batches/:id/results":      {objects: []string{"batch of a person"}},
	"POST /portal/:tenant/archive/new":                  {},
	"GET /portal/:tenant/archive/:id/file":              {objects: []string{"archive"}},
	"POST /portal/:tenant/leaving/new":                  {form: url.Values{"typed": {"north"}, "reason": {"It is over."}}},
	"POST /portal/:tenant/leaving/begin":                {},
	"POST /portal/:tenant/leaving/stay":                 {},
	"GET /portal/:tenant/codes":                         {form: url.Values{"id": {"5f2b1c4e-4f5f-4b6a-9d4b-0d7a6c1e2f3a"}}, named: map[string]string{"id": "code"}},
	"GET /portal/:tenant/audit":                         {form: url.Values{"who": {"r"}, "action": {"code"}, "target": {"t"}, "from": {"2026-11-01"}, "until": {"2026-11-30"}, "before": {"7"}}},
	"GET /portal/:tenant/audit/log":                     {},
	"POST /portal/:tenant/alerts/new":                   {form: url.Values{"figure": {"issued-above"}, "threshold": {"100"}, "emails": {"team@people.example"}, "webhook": {""}, "webhook_secret": {""}}},
	"GET /portal/:tenant/alerts/:id/remove":             {objects: []string{"alert"}},
	"POST /portal/:tenant/alerts/:id/remove":            {objects: []string{"alert"}},
	"GET /portal/:tenant/patients/text":                 {form: url.Values{"language": {"es"}}},
	"POST /portal/:tenant/patients/text":                {form: url.Values{"language": {"fr"}, "agency": {"La santé"}}, before: `delete from report_text where language = 'fr'`},
	"POST /portal/:tenant/patients/look":                {form: url.Values{"color": {"#123456"}}, before: `delete from report_page`},
	"GET /portal/:tenant/limits":                        {form: url.Values{"factor": {"1.5"}}},
	"POST /portal/:tenant/limits":                       {form: url.Values{"codes": {"5"}}},
	"GET /portal/:tenant/texts/edit":                    {form: url.Values{"label": {"Default SMS template"}, "language": {"en"}}},
	"POST /portal/:tenant/texts/edit":                   {form: url.Values{"label": {""}, "language": {"fr"}, "body": {"Votre code : [longcode]"}, "confirm": {"yes"}}, before: `delete from message_template where language = 'fr'`},
	"POST /portal/:tenant/texts/measure":                {form: url.Values{"label": {""}, "language": {"fr"}, "body": {"Votre code : [longcode]"}}},
	"GET /portal/:tenant/texts/remove":                  {form: url.Values{"label": {"Default SMS template"}, "language": {"fr"}}, before: frenchText},
	"POST /portal/:tenant/texts/remove":                 {form: url.Values{"label": {"Default SMS template"}, "language": {"fr"}, "body": {"Votre code : [longcode]"}}},
	"POST /portal/:tenant/texts/test":                   {form: url.Values{"message_text": {"en/Default SMS template"}, "phone": {"+12065550100"}}},
	"POST /portal/:tenant/settings/codes":               {form: url.Values{"code_life": {"20"}, "seen_code_life": {"15m0s"}}},
	"POST /portal/:tenant/settings/self-report":         {form: url.Values{"self_report_free": {"70"}, "seen_self_report_free": {"1h0m0s"}}},
	"POST /portal/:tenant/settings/messages":            {form: url.Values{"sms_country": {"CA"}, "seen_sms_country": {"US"}}},
	"POST /portal/:tenant/settings/authority":           {form: url.Values{"welcome": {"Ask."}, "contacts": {"team@people.example"}, "invite_letter": {"[invitelink]"}}, before: `update tenant_setting set welcome = '', contacts = '{}', invite_letter = ''`},
	"POST /portal/:tenant/settings/place":               {form: url.Values{"language": {"es"}, "seen_language": {"en"}}},
	"POST /portal/:tenant/settings/access":              {form: url.Values{"admin_networks": {"192.0.2.0/24"}}},
	"POST /portal/:tenant/settings/quota":               {form: url.Values{"quota_factor": {"2"}, "seen_quota_factor": {"1.00"}, "seen_quota_enforced": {"off"}, "confirm": {"yes"}}, before: `update tenant_setting set quota_factor = 1, quota_enforced = false`},
	"POST /portal/:tenant/settings/certificates":        {form: url.Values{"token_life": {"30"}, "seen_token_life": {"24h0m0s"}}},
	"POST /portal/:tenant/self-test":                    {},
	"GET /portal/:tenant/roles/explain":                 {form: url.Values{"who": {"x"}, "action": {"code:issue"}}},
	"POST /portal/:tenant/roles/new":                    {form: url.Values{"role": {unique}, "description": {"at night"}, "rule_code_issue": {"allow"}, "confirm": {"yes"}}},
	"GET /portal/:tenant/roles/:role/edit":              {objects: []string{"role"}},
	"POST /portal/:tenant/roles/:role/edit":             {objects: []string{"role"}, form: url.Values{"version": {"5f2b1c4e-4f5f-4b6a-9d4b-0d7a6c1e2f3a"}, "description": {"by day"}, "rule_code_issue": {"allow"}, "confirm": {"yes"}}},
	"GET /portal/:tenant/roles/:role/delete":            {objects: []string{"role"}},
	"POST /portal/:tenant/roles/:role/delete":           {objects: []string{"role"}, form: url.Values{"version": {"5f2b1c4e-4f5f-4b6a-9d4b-0d7a6c1e2f3a"}}},
	"POST /join/:tenant/accept":                         {},
	"POST /portal/:tenant/staff/invite":                 {form: url.Values{"name": {"New Person"}, "email": {unique + "@people.example"}, "roles": {"caseworker"}}},
	"POST /portal/:tenant/staff/import":                 {},
	"POST /portal/:tenant/staff/import/confirm":         {form: url.Values{"list": {"name,email,roles\nNew,new@people.example,caseworker\n"}}},
	"POST /portal/:tenant/staff/unsent":                 {},
	"POST /portal/:tenant/staff/invitations/:id/resend": {objects: []string{"invitation"}},
	"GET /portal/:tenant/staff/invitations/:id/revoke":  {objects: []string{"invitation"}},
	"POST /portal/:tenant/staff/invitations/:id/revoke": {objects: []string{"invitation"}},
	"GET /portal/:tenant/staff/people/:id":              {objects: []string{"person"}},
	"POST /portal/:tenant/staff/people/:id":             {objects: []string{"person"}, form: url.Values{"roles": {"analyst"}}},
	"POST /portal/:tenant/account/confirm":              {},
	"GET /portal/:tenant/staff/people/:id/bring-back":   {objects: []string{"person"}},
	"POST /portal/:tenant/staff/people/:id/bring-back":  {objects: []string{"person"}},
	"GET /portal/:tenant/staff/people/:id/suspend":      {objects: []string{"person"}},
	"POST /portal/:tenant/staff/people/:id/suspend":     {objects: []string{"person"}},
	"POST /portal/:tenant/staff/people/:id/resume":      {objects: []string{"person"}},
	"GET /portal/:tenant/staff/people/:id/remove":       {objects: []string{"person"}},
	"POST /portal/:tenant/staff/people/:id/remove":      {objects: []string{"person"}},
	"GET /portal/:tenant/staff/people/:id/owner":        {objects: []string{"person"}},
	"POST /portal/:tenant/staff/people/:id/owner":       {objects: []string{"person"}, form: url.Values{"change": {"grant"}, "reason": {"She leads."}}},
	"GET /portal/:tenant/approvals/:id":                 {objects: []string{"approval"}},
	"POST /portal/:tenant/approvals/:id/approve":        {objects: []string{"approval"}},
	"POST /portal/:tenant/approvals/:id/refuse":         {objects: []string{"approval"}, form: url.Values{"reason": {"Not now."}}},
	"POST /portal/:tenant/approvals/:id/withdraw":       {objects: []string{"approval"}},
	"GET /portal/:tenant/staff/groups/:id":              {objects: []string{"group"}},
	"POST /portal/:tenant/staff/groups/:id":             {objects: []string{"group"}, form: url.Values{"role": {"analyst"}}},
	"GET /portal/:tenant/sign-in/:id":                   {objects: []string{"provider"}},
	"POST /portal/:tenant/sign-in/new":                  {form: url.Values{"name": {unique}, "issuer": {"https://login.south.example"}, "client_id": {"carillon"}, "proof": {"secret"}, "client_secret": {"a secret of some length"}, "scopes": {"email profile"}, "email_domains": {"south.example"}, "trust_email": {""}, "role_claim": {"groups"}, "role_map": {"nurses = caseworker"}, "acr": {""}, "amr": {""}}},
	"GET /portal/:tenant/sign-in/:id/change":            {objects: []string{"provider"}},
	"POST /portal/:tenant/sign-in/:id/change":           {objects: []string{"provider"}, form: url.Values{"name": {"Ours"}, "issuer": {"https://login.south.example"}, "client_id": {"carillon"}, "proof": {"secret"}, "client_secret": {"a secret of some length"}, "scopes": {"email profile"}, "email_domains": {"south.example"}, "trust_email": {""}, "role_claim": {"groups"}, "role_map": {"nurses = caseworker"}, "acr": {""}, "amr": {""}, "version": {"1"}}},
	"GET /portal/:tenant/sign-in/:id/try":               {objects: []string{"provider"}},
	"GET /portal/:tenant/sign-in/:id/tried":             {objects: []string{"provider"}},
	"GET /portal/:tenant/sign-in/:id/activate":          {objects: []string{"provider"}},
	"POST /portal/:tenant/sign-in/:id/activate":         {objects: []string{"provider"}},
	"GET /portal/:tenant/sign-in/:id/off":               {objects: []string{"provider"}},
	"POST /portal/:tenant/sign-in/:id/off":              {objects: []string{"provider"}},
	"POST /portal/:tenant/sign-in/domains":              {form: url.Values{"domain": {"south.example"}, "act": {"add"}}},
	"POST /logout":                                      {},
	"POST /language":                                    {form: url.Values{"language": {"es"}, "back": {"/portal"}}},
	"POST /portal/:tenant/codes/new":                    {form: url.Values{"code_id": {"0c7f1f4e-31a5-4b6a-9d4b-0d7a6c1e2f3a"}, "test_type": {"confirmed"}, "tz_offset": {"0"}}},
	"GET /portal/:tenant/exports/:window/regenerate":    {objects: []string{exportWindow}, before: exportMissing},
	"POST /portal/:tenant/exports/:window/regenerate":   {objects: []string{exportWindow}, before: exportMissing},
	"GET /portal/:tenant/exports":                       {form: url.Values{"before": {"2026-11-26T00:00:00Z"}}},
	"GET /portal/:tenant/statistics":                    {form: url.Values{"period": {"month"}}},
	"GET /portal/:tenant/statistics/file":               {form: url.Values{"figure": {"issuers"}, "form": {"csv"}, "period": {"month"}}},
	"POST /portal/:tenant/codes":                        {form: url.Values{"id": {"12345678"}}},
	"GET /portal/:tenant/codes/:id/state":               {objects: []string{"code"}},
	"GET /portal/:tenant/codes/:id/send":                {objects: []string{"code"}},
	"GET /portal/:tenant/codes/:id/mail":                {objects: []string{"code"}},
	"POST /portal/:tenant/codes/:id/mail":               {objects: []string{"code"}, form: url.Values{"email": {"alex@example.com"}}},
	"POST /portal/:tenant/codes/:id/send":               {objects: []string{"code"}, form: url.Values{"phone": {"+12065550100"}}},
	"GET /portal/:tenant/codes/:id/expire":              {objects: []string{"code"}},
	"POST /portal/:tenant/codes/:id/expire":             {objects: []string{"code"}},
	"POST /portal/:tenant/support/new":                  {form: url.Values{"email": {"help@people.example"}, "role": {"auditor"}, "hours": {"1"}}},
	"POST /portal/:tenant/support/:id/revoke":           {objects: []string{"grant"}},
	"POST /portal/:tenant/sharing/new":                  {form: url.Values{"recipient": {"south"}, "keys": {"all"}}},
	"GET /portal/:tenant/sharing/:id/withdraw":          {objects: []string{"offer"}},
	"POST /portal/:tenant/sharing/:id/withdraw":         {objects: []string{"offer"}},
	"GET /portal/:tenant/sharing/:id/answer":            {objects: []string{"offer to it"}},
	"POST /portal/:tenant/sharing/:id/accept":           {objects: []string{"offer to it"}},
	"POST /portal/:tenant/sharing/:id/decline":          {objects: []string{"offer to it"}},
	"GET /portal/:tenant/sharing/:id/end":               {objects: []string{"offer to it"}, before: offersAccepted},
	"POST /portal/:tenant/sharing/:id/end":              {objects: []string{"offer"}},
	"POST /portal/:tenant/pack/region":                  {form: url.Values{"version": {"0"}, "languages": {"en"}, "goLiveDate": {"2027-01-11"}}},
	"POST /portal/:tenant/pack/branding":                {form: url.Values{"version": {"0"}, "agencyColor": {"#ffffff"}, "agencyHeaderTextColor": {"#eeeeee"}}},
	"POST /portal/:tenant/pack/risk":                    {form: url.Values{"version": {"0"}, "attenuationNearWeight": {"100"}}},
	"POST /portal/:tenant/pack/classes":                 {form: url.Values{"version": {"0"}, "classes": {"1"}, "classificationName_1": {"alert-1"}}},
	"POST /portal/:tenant/pack/texts":                   {form: url.Values{"version": {"0"}, "agencyDisplayName": {"North"}}},
	"POST /portal/:tenant/pack/links":                   {form: url.Values{"version": {"0"}, "revokedURL": {"https://health.example/"}}},
	"POST /portal/:tenant/pack/android":                 {form: url.Values{"version": {"0"}, "appTitle": {"Notify"}}},
	"GET /portal/:tenant/pack/texts":                    {form: url.Values{"language": {"en"}}},
	"POST /portal/:tenant/pack/make":                    {form: url.Values{"signed": {"yes"}}},
	"POST /portal/:tenant/pack/translations":            {},
	"POST /portal/:tenant/pack/translations/confirm":    {form: url.Values{"sheet": {"key,label,limit,en\nagencyRegionName,,,North\n"}, "versions": {`{"en":0}`}}},
	"GET /portal/:tenant/pack/made/:id":                 {objects: []string{"pack"}},
	"GET /portal/:tenant/pack/made/:id/file":            {objects: []string{"pack"}},
	"POST /portal/:tenant/pack/made/:id/hand-over":      {objects: []string{"pack"}, form: url.Values{"recipient": {"apple"}, "person": {"Alex"}}},
	"GET /portal/:tenant/pack/made/:id/push":            {objects: []string{"pack"}},
	"POST /portal/:tenant/pack/made/:id/push":           {objects: []string{"pack"}},
	"POST /portal/:tenant/api-keys/new":                 {form: url.Values{"name": {unique}, "kind": {"admin"}}},
	"GET /portal/:tenant/api-keys/:id":                  {objects: []string{"api-key"}},
	"GET /portal/:tenant/api-keys/:id/report":           {objects: []string{"api-key"}},
	"GET /portal/:tenant/api-keys/:id/change":           {objects: []string{"api-key"}},
	"POST /portal/:tenant/api-keys/:id/change":          {objects: []string{"api-key"}, form: url.Values{"name": {"Laboratory"}}},
	"GET /portal/:tenant/api-keys/:id/rotate":           {objects: []string{"api-key"}},
	"POST /portal/:tenant/api-keys/:id/rotate":          {objects: []string{"api-key"}, form: url.Values{"overlap": {"7"}}},
	"GET /portal/:tenant/api-keys/:id/revoke":           {objects: []string{"api-key"}},
	"POST /portal/:tenant/api-keys/:id/revoke":          {objects: []string{"api-key"}},
	"GET /portal/:tenant/api-keys/:id/codes":            {objects: []string{"api-key"}},
	"POST /portal/:tenant/api-keys/:id/codes":           {objects: []string{"api-key"}},

	"POST /portal/:tenant/rehearsal/begin":   {form: url.Values{"step": {"0"}}},
	"POST /portal/:tenant/rehearsal/issue":   {form: url.Values{"step": {"1"}}},
	"POST /portal/:tenant/rehearsal/redeem":  {form: url.Values{"step": {"1"}, "code": {"12345678"}}},
	"POST /portal/:tenant/rehearsal/publish": {form: url.Values{"step": {"1"}}},
	"POST /portal/:tenant/rehearsal/look":    {form: url.Values{"step": {"1"}}},

	"GET /portal/:tenant/login/start":                     {form: url.Values{"provider": {"x"}, "return": {"/portal"}}},
	"GET /login":                                          {form: url.Values{"return": {"/portal"}, "reason": {"lost"}}},
	"GET /login/start":                                    {form: url.Values{"return": {"/portal"}, "reason": {"fresh"}}},
	"GET /login/callback":                                 {form: url.Values{"state": {"x"}, "code": {"x"}, "error": {"x"}, "iss": {"x"}}},
	"GET /login/callback/:provider":                       {form: url.Values{"state": {"x"}, "code": {"x"}, "error": {"x"}, "iss": {"x"}}},
	"POST /login/find":                                    {form: url.Values{"email": {"somebody@south.example"}, "return": {"/portal"}}},
	"POST /login/back-channel-logout":                     {form: url.Values{"logout_token": {"a.b.c"}}},
	"GET /join/:tenant":                                   {form: url.Values{"token": {"x"}}},
	"POST /signup/link":                                   {form: url.Values{"email": {"new@people.example"}}},
	"POST /signup/link/:token":                            {},
	"POST /signup/application":                            {form: applicationForm, before: applicationProving, draft: "application"},
	"POST /signup/application/letter":                     {form: url.Values{"address": {"desk@health.lakeland.example"}}, before: applicationProving},
	"POST /signup/application/record":                     {},
	"POST /signup/proof/:token":                           {},
	"POST /report":                                        {},
	"POST /report/issue":                                  {form: url.Values{"testDate": {""}, "phone": {"+12065550100"}, "agreement": {"true"}, "tz_offset": {"0"}}},
	"GET /operator":                                       {form: url.Values{"text": {"x"}, "state": {"active"}, "after": {"x"}}},
	"GET /operator/log":                                   {form: url.Values{"target": {"x"}, "before": {"7"}}},
	"GET /operator/applications":                          {form: url.Values{"state": {"waiting"}}},
	"POST /operator/applications/:id/approve":             {objects: []string{"application"}, form: url.Values{"slug": {unique}, "health_authority_id": {unique}, "export_key_id": {"310"}}, before: applicationWaiting},
	"GET /operator/applications/:id":                      {objects: []string{"application"}},
	"GET /operator/applications/:id/approve":              {objects: []string{"application"}, before: applicationWaiting},
	"GET /operator/applications/:id/ask":                  {objects: []string{"application"}, before: applicationWaiting},
	"GET /operator/applications/:id/refuse":               {objects: []string{"application"}, before: applicationWaiting},
	"GET /operator/tenants/:slug":                         {objects: []string{"slug"}},
	"GET /operator/tenants/:slug/suspend":                 {objects: []string{"slug"}},
	"GET /operator/tenants/:slug/resume":                  {objects: []string{"slug"}, before: `update tenant_directory set state = 'suspended' where slug = 'west'`},
	"POST /operator/applications/:id/ask":                 {objects: []string{"application"}, form: url.Values{"reason": {"Which counties?"}}, before: applicationWaiting},
	"POST /operator/applications/:id/refuse":              {objects: []string{"application"}, form: url.Values{"reason": {"No such authority."}}, before: applicationWaiting},
	"POST /operator/applications/:id/letter":              {objects: []string{"application"}},
	"POST /operator/tenants/:slug/suspend":                {objects: []string{"slug"}, form: url.Values{"reason": {"unpaid"}}, before: `update tenant_directory set state = 'active' where slug = 'west'`},
	"POST /operator/tenants/:slug/resume":                 {objects: []string{"slug"}, form: url.Values{"reason": {"paid"}}, before: `update tenant_directory set state = 'suspended' where slug = 'west'`},
	"POST /t/:tenant/api/receipts/status":                 {form: url.Values{"MessageSid": {"x"}, "MessageStatus": {"delivered"}}},
	"POST /t/:tenant/api/receipts/errors":                 {form: url.Values{"Sid": {"x"}, "Payload": {"{}"}}},
	"GET /portal/:tenant/keys/:purpose":                   {objects: []string{signingKey}},
	"GET /portal/:tenant/keys/:purpose/public/:version":   {objects: []string{signingKey, keyVersion}},
	"GET /portal/:tenant/keys/:purpose/rotate":            {objects: []string{signingKey}},
	"POST /portal/:tenant/keys/:purpose/rotate":           {objects: []string{signingKey}, form: url.Values{"reason": {"It is time."}, "urgency": {"at-once"}}, before: `delete from key_rotation where purpose = 'certificate'`},
	"GET /portal/:tenant/keys/:purpose/period":            {objects: []string{signingKey}},
	"POST /portal/:tenant/keys/:purpose/period":           {objects: []string{signingKey}, form: url.Values{"period": {"240"}}},
	"GET /portal/:tenant/keys/rotations/:id":              {objects: []string{"rotation"}},
	"POST /portal/:tenant/keys/rotations/:id/handed-over": {objects: []string{"rotation"}, before: rotationMade},
	"POST /portal/:tenant/keys/rotations/:id/confirm":     {objects: []string{"rotation"}, form: url.Values{"party": {"apple"}, "contact": {"a letter"}}, before: rotationMade},
	"POST /portal/:tenant/keys/rotations/:id/rehearsed":   {objects: []string{"rotation"}, before: rotationMade},
	"POST /portal/:tenant/keys/rotations/:id/ask":         {objects: []string{"rotation"}, form: url.Values{"reason": {"It is time."}}, before: rotationMade},
	"GET /portal/:tenant/keys/rotations/:id/activate":     {objects: []string{"rotation"}},
	"POST /portal/:tenant/keys/rotations/:id/activate":    {objects: []string{"rotation"}},
	"GET /portal/:tenant/keys/rotations/:id/retire":       {objects: []string{"rotation"}},
	"POST /portal/:tenant/keys/rotations/:id/retire":      {objects: []string{"rotation"}},
	"GET /portal/:tenant/keys/rotations/:id/cancel":       {objects: []string{"rotation"}},
	"POST /portal/:tenant/keys/rotations/:id/cancel":      {objects: []string{"rotation"}, before: rotationMade},

	"GET /portal/:tenant/login/keys/:provider":                  {objects: []string{"provider"}},
	"POST /portal/:tenant/login/back-channel-logout/:provider":  {objects: []string{"provider"}, form: url.Values{"logout_token": {"a.b.c"}}},
	"GET /t/:tenant/api/codes/batches/:batch":                   {objects: []string{"batch"}},
	"GET /t/:tenant/api/codes/batches/:batch/rows":              {objects: []string{"batch"}},
	"POST /t/:tenant/api/codes/batches/:batch/pause":            {objects: []string{"batch"}},
	"POST /t/:tenant/api/codes/batches/:batch/resume":           {objects: []string{"batch"}, before: batchPaused},
	"POST /t/:tenant/api/codes/batches/:batch/cancel":           {objects: []string{"batch"}},
	"GET /t/:tenant/api/lab-feed/submissions/:submission":       {objects: []string{"submission"}},
	"POST /t/:tenant/api/lab-feed/dead-letters/:letter/retry":   {objects: []string{"dead letter"}},
	"POST /t/:tenant/api/lab-feed/dead-letters/:letter/discard": {objects: []string{"dead letter"}},
	"GET /t/:tenant/api/stats/realm/users/:file":                {objects: []string{"report of a person"}},
	"GET /t/:tenant/api/stats/realm/api-keys/:file":             {objects: []string{"report of a key"}},
	"GET /t/:tenant/exports/:entry":                             {objects: []string{exportFile}},
	"HEAD /t/:tenant/exports/:entry":                            {objects: []string{exportFile}},
	"GET /t/:tenant/exports/:entry/index.txt":                   {objects: []string{exportFolder}},
	"HEAD /t/:tenant/exports/:entry/index.txt":                  {objects: []string{exportFolder}},
	"GET /t/:tenant/exports/:entry/:file":                       {objects: []string{exportFolder, exportFile}},
	"HEAD /t/:tenant/exports/:entry/:file":                      {objects: []string{exportFolder, exportFile}},
	"GET /t/:tenant/scim/v2/Users/:id":                          {objects: []string{"person"}},
	"PUT /t/:tenant/scim/v2/Users/:id":                          {objects: []string{"person"}},
	"PATCH /t/:tenant/scim/v2/Users/:id":                        {objects: []string{"person"}},
	"DELETE /t/:tenant/scim/v2/Users/:id":                       {objects: []string{"person"}},
	"GET /t/:tenant/scim/v2/Groups/:id":                         {objects: []string{"group"}},
	"PUT /t/:tenant/scim/v2/Groups/:id":                         {objects: []string{"group"}},
	"PATCH /t/:tenant/scim/v2/Groups/:id":                       {objects: []string{"group"}},
	"DELETE /t/:tenant/scim/v2/Groups/:id":                      {objects: []string{"group"}},
	"GET /t/:tenant/scim/v2/ResourceTypes/:id":                  {objects: []string{everyonesObject}},
	"GET /t/:tenant/scim/v2/Schemas/:id":                        {objects: []string{everyonesObject}},
}

// offersAccepted has each offer accepted, frenchText gives every authority a text in French.
const (
	offersAccepted = `
insert into share_answer (tenant_id, donor, offer_id, accepted, answered_at, crossed_until, kind)
select d.tenant, o.tenant_id, o.offer_id, true, now(), now(), d.kind from share_offer o join tenant_directory d on d.slug = o.recipient
    on conflict do nothing`
	frenchText = `
insert into message_template (tenant_id, label, language, body, changed_at)
select tenant_id, 'Default SMS template', 'fr', 'Votre code : [longcode]', now() from tenant_setting
    on conflict do nothing`
)

// What brings the batches of keys back to where they are steered.
const (
	batchRunning = `update batch set state = 'running', finished_at = null where issuer_kind = 'api-key'`
	batchPaused  = `update batch set state = 'paused', finished_at = null where issuer_kind = 'api-key'`
)

// rotationMade brings rotations to where people see to them.
const rotationMade = `update key_rotation set step = 'made', version = 1, ended_at = null where purpose = 'export'`

// exampleOf is the example of a route.
func exampleOf(r authz.Route) example { return examples[r.Method+" "+r.Path] }

// exportMissing is that files are gone from the store.
const exportMissing = `update export_file set finding = 'missing', checked_at = now(), remake = '', state = 'published'`

// unique stands in a form for a text that is another each time.
const unique = "unique"

// applicationForm is what an applicant fills in, the stranger in these tests.
var applicationForm = url.Values{
	"name": {"Lakeland Department of Health"}, "region": {"US-MN"}, "domain": {"health.lakeland.example"}, "contact_name": {"Ada Lake"},
	"contact_email": {"team@health.lakeland.example"}, "contact_phone": {"+1 206 555 0142"}, "languages": {"en, es"}, "codes": {"100"}, "act": {"submit"},
}

// The application in the states in which its forms are.
const (
	applicationProving = `
update application
   set state = 'proving', proven_by = null, proven_at = null, sandbox = null, decided_at = null, production = null`
	applicationWaiting = `
update tenant_directory set state = 'active' where slug = 'south-sandbox';
update application
   set state = 'waiting', proven_by = 'dns', proven_at = now(), sandbox = (select tenant from tenant_directory where slug = 'south-sandbox'),
       decided_at = null, production = null, message = '', region = 'XX-' || upper(left(md5(random()::text), 3))`
)

// wantExamples fails the test if a route needs an example that is not there.
func wantExamples(t *testing.T, routes []authz.Route) {
	t.Helper()
	for _, r := range routes {
		x, found := examples[r.Method+" "+r.Path]
		if takesForm(r) && !found {
			t.Errorf("%s %s: add a form that is filled in to examples in examples_test.go", r.Method, r.Path)
		}
		if r.TenantFrom != authz.TenantFromURL && (!r.Credential.OfSession() || r.Audience == authz.AudienceOperator) { // whose URLs name nothing that a tenant has
			continue
		}
		parameters := strings.Count(strings.Replace(r.Path, ":tenant", "", 1), ":")
		if len(x.objects) != parameters {
			t.Errorf("%s %s: add a request to examples in examples_test.go, with an object for each of %d parameters"+
				" (objectSQL in objects_test.go says how to find one of a tenant, furnish makes them)", r.Method, r.Path, parameters)
		}
		if _, is := bodies[r.Method+" "+r.Path]["uuid"].(string); is && r.Path != "/t/:tenant/api/issue" { // which makes it
			t.Errorf("%s %s: say in bodies what its uuid is of, as a thing", r.Method, r.Path)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// takesForm tells the routes to which people's browsers send forms.
func takesForm(r authz.Route) bool {
	return r.Method == http.MethodPost && (r.Credential.OfSession() || r.Audience == authz.AudiencePublic || r.Audience == authz.AudiencePatient)
}
