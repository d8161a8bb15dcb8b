// Without scripts, the time zone of the machine is offered.
const zone = document.querySelector("input[data-offered]");
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && own && zone.value === zone.dataset.offered) zone.value = own;
