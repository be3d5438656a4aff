-- rspamd: a bonus for mail that closedmail's milter has proven to be a partner's.
-- Append to /etc/rspamd/rspamd.local.lua, and write your authserv_id below.
-- The milter removes from every message what others wrote in its name, so that what is left is its own. rspamd must
-- therefore come behind it: after it in smtpd_milters, or in INPUT_MAIL_FILTER lines.

local authserv_id = 'mail.city.example'

rspamd_config:register_symbol({
  name = 'CLOSEDMAIL_PASS',
  type = 'normal',
  score = -8.0,
  group = 'closedmail',
  description = 'A partner of a closed mail network, proven by closedmail',
  callback = function(task)
    local begins = authserv_id:lower() .. '; x-closedmail=pass ('
    for _, field in ipairs(task:get_header_full('Authentication-Results') or {}) do
      -- The raw value: encoded words are not decoded in it, and ours has none.
      local value = (field.value or ''):gsub('^%s+', ''):gsub('%s+', ' ')
      if value:lower():sub(1, #begins) == begins then
        return true, 1.0, value:match('smtp%.mailfrom=([%w._-]+)') or ''
      end
    end
    return false
  end,
})
