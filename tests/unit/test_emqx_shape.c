/* SPDX-License-Identifier: Apache-2.0 */

/* The shape of EMQX's vehicle gateways: frames that are made from documents of ours must read as
 * EMQX has them, and EMQX's commands must become the bytes that the standards want. The expected
 * texts are written by hand from EMQX's published names. */

#include <jansson.h>
#include <stdio.h>

#include "gbt32960/gbt32960_json.h"
#include "jt808/jt808_codec.h"
#include "jt808/jt808_json.h"
#include "suite.h"

#define TIME  "\"time\":\"2026-03-01T08:00:05+08:00\""
#define CLOCK "\"Time\":{\"Year\":26,\"Month\":3,\"Day\":1,\"Hour\":8,\"Minute\":0,\"Second\":5}"

static void check_json(const char *what, const struct json_out *out, const char *expected)
{
    json_t *got =
        out->failed ? NULL : json_loadb(out->data, out->len, JSON_REJECT_DUPLICATES, NULL);
    json_t *want = json_loads(expected, 0, NULL);

    CU_ASSERT_PTR_NOT_NULL_FATAL(want);
    if (!json_equal(got, want)) {
        printf("    %s:\n      wanted %s\n      got    %.*s\n", what, expected, (int)out->len,
               out->data);
        CU_FAIL("another document");
    }
    json_decref(got);
    json_decref(want);
}

static void check_bytes(const char *what, struct pg_bytes got, const char *hex)
{
    char text[512] = "";

    for (size_t i = 0; i < got.len && 2 * i + 3 < sizeof(text); i++) {
        (void)snprintf(text + 2 * i, 3, "%02x", got.data[i]);
    }
    if (strcmp(text, hex) != 0) {
        printf("    %s: wanted %s, got %s\n", what, hex, text);
        CU_FAIL("other bytes");
    }
}

/* ---- GB/T 32960 ----------------------------------------------------------------------------- */

static bool gbt_encode(const char *document, struct wire_out *unit, struct gbt_json_message *out)
{
    const struct gbt_json_defaults defaults = {.id = (const uint8_t *)"LPGATE00000000017",
                                               .wall_ms = INT64_C(1772323205000)};
    struct wire_error error;
    char sentence[512];

    if (!gbt_json_encode_text(document, strlen(document), &defaults, unit, out, &error)) {
        wire_error_sentence(&error, sentence, sizeof(sentence));
        printf("    %s: %s\n", document, sentence);
        return false;
    }
    return true;
}

static void check_report(const char *edition, const char *item, const char *expected)
{
    char document[2048];
    char want[2048];
    struct wire_out unit = wire_out_heap(65536);
    struct json_out json = json_out_heap(1 << 20);
    struct gbt_json_message message;
    const struct gbt_json_options options = {.shape = WIRE_SHAPE_ALIAS, .uplink = true};

    (void)snprintf(document, sizeof(document),
                   "{\"message\":\"realtime_report\",\"edition\":\"%s\",\"body\":{" TIME
                   ",\"items\":[%s]}}",
                   edition, item);
    (void)snprintf(want, sizeof(want),
                   "{\"Cmd\":2,\"Encrypt\":1,\"Vin\":\"LPGATE00000000017\",\"Data\":{" CLOCK
                   ",\"Infos\":[%s]}}",
                   expected);
    CU_ASSERT_TRUE_FATAL(gbt_encode(document, &unit, &message));
    CU_ASSERT_TRUE(gbt_json_write(&json, &message.frame, &options, NULL));
    check_json(item, &json, want);
    json_out_free(&json);
    wire_out_free(&unit);
}

static void reports_of_2016_have_emqx_names(void)
{
    check_report("2016",
                 "{\"name\":\"vehicle\",\"vehicle_status\":\"started\",\"charge_status\":\"not_"
                 "charging\",\"run_mode\":\"electric\",\"speed_kmh\":63.5,\"mileage_km\":12345.6,"
                 "\"total_voltage_v\":384.2,\"total_current_a\":-25.7,\"soc_percent\":71,"
                 "\"dcdc_status\":\"working\",\"gear\":{\"gear\":\"drive\",\"driving_force\":true,"
                 "\"braking_force\":false},\"insulation_resistance_kohm\":null,\"accelerator_pedal_"
                 "percent\":18,\"brake_pedal_percent\":0}",
                 "{\"Type\":\"Vehicle\",\"Status\":1,\"Charging\":3,\"Mode\":1,\"Speed\":635,"
                 "\"Mileage\":123456,\"Voltage\":3842,\"Current\":9743,\"SOC\":71,\"DC\":1,"
                 "\"Gear\":46,\"Resistance\":65535,\"AcceleratorPedal\":18,\"BrakePedal\":0}");
    check_report(
        "2016",
        "{\"name\":\"position\",\"positioning_valid\":false,\"longitude_deg\":-70.5,"
        "\"latitude_deg\":-33.25}",
        "{\"Type\":\"Location\",\"Status\":7,\"Longitude\":70500000,\"Latitude\":33250000}");
    check_report("2016",
                 "{\"name\":\"alarm\",\"max_level\":3,\"general_flags\":[\"soc_low\"],"
                 "\"ess_faults\":[\"000000c8\",\"12345678\"],\"motor_faults\":[],"
                 "\"engine_faults\":[],\"other_faults\":[]}",
                 "{\"Type\":\"Alarm\",\"MaxAlarmLevel\":3,\"GeneralAlarmFlag\":16,"
                 "\"FaultChargeableDeviceNum\":2,\"FaultChargeableDeviceList\":[\"00C8\","
                 "\"12345678\"],\"FaultDriveMotorNum\":0,\"FaultDriveMotorList\":[],"
                 "\"FaultEngineNum\":0,\"FaultEngineList\":[],\"FaultOthersNum\":0,"
                 "\"FaultOthersList\":[]}");
    check_report("2016",
                 "{\"name\":\"ess_voltage\",\"subsystems\":[{\"number\":1,\"voltage_v\":384.2,"
                 "\"current_a\":12.5,\"cell_count\":96,\"frame_start_cell\":95,"
                 "\"cell_voltages_v\":[4.001,4.002]}]}",
                 "{\"Type\":\"ChargeableVoltage\",\"Number\":1,\"SubSystems\":[{"
                 "\"ChargeableSubsysNo\":1,\"ChargeableVoltage\":3842,\"ChargeableCurrent\":10125,"
                 "\"CellsTotal\":96,\"FrameCellsIndex\":95,\"FrameCellsCount\":2,"
                 "\"CellsVoltage\":[4001,4002]}]}");
    check_report("2016", "{\"type\":130,\"hex\":\"cafe\"}",
                 "{\"Type\":\"CustomData\",\"Data\":\"ggACyv4=\"}");
}

static void reports_of_2025_have_emqx_names(void)
{
    check_report("2025",
                 "{\"name\":\"alarm\",\"max_level\":4,\"general_flags\":[\"ess_thermal_event\"],"
                 "\"ess_faults\":[\"000000c8\"],\"motor_faults\":[],\"engine_faults\":[],"
                 "\"other_faults\":[],\"general_alarm_levels\":[{\"bit\":23,\"level\":4}]}",
                 "{\"Type\":\"Alarm\",\"MaxAlarmLevel\":4,\"GeneralAlarmFlag\":8388608,"
                 "\"FaultChargeableDeviceNum\":1,\"FaultChargeableDeviceList\":[\"000000C8\"],"
                 "\"FaultDriveMotorNum\":0,\"FaultDriveMotorList\":[],\"FaultEngineNum\":0,"
                 "\"FaultEngineList\":[],\"FaultOthersNum\":0,\"FaultOthersList\":[],"
                 "\"FaultGeneralNum\":1,\"FaultGeneralList\":[{\"No\":23,\"Level\":4}]}");
    check_report("2025",
                 "{\"name\":\"battery_temperature\",\"packs\":[{\"number\":1,"
                 "\"probe_temperatures_c\":[25,26,null]}]}",
                 "{\"Type\":\"TempOfPowerBattery\",\"Number\":1,\"SubSystems\":[{"
                 "\"BatteryPackNo\":1,\"ProbeNum\":3,\"ProbesTemp\":[65,66,255]}]}");
    check_report("2025",
                 "{\"name\":\"signature\",\"algorithm\":\"sm2\",\"r_hex\":\"0aff\",\"s_hex\":\"\"}",
                 "{\"Type\":\"Signature\",\"SignatureType\":1,\"RLength\":2,\"RValue\":\"0AFF\","
                 "\"SLength\":0,\"SValue\":\"\"}");
}

static void logins_have_emqx_names(void)
{
    static const struct {
        const char *document, *data;
    } cases[] = {
        {"{\"message\":\"vehicle_login\",\"body\":{" TIME ",\"serial_number\":3,\"iccid\":"
         "\"89860000000000000017\",\"subsystem_count\":2,\"code_length\":4,\"codes\":[\"AB12\","
         "\"CD34\"]}}",
         CLOCK ",\"Seq\":3,\"ICCID\":\"89860000000000000017\",\"Num\":2,\"Length\":4,"
               "\"Id\":\"AB12CD34\""},
        {"{\"message\":\"vehicle_login\",\"edition\":\"2025\",\"body\":{" TIME
         ",\"serial_number\":3,\"iccid\":\"89860000000000000017\",\"pack_counts\":[2,0,1],"
         "\"pack_codes\":[\"000000000000000000000001\",\"000000000000000000000002\","
         "\"000000000000000000000003\"]}}",
         CLOCK ",\"Seq\":3,\"ICCID\":\"89860000000000000017\",\"BmsNum\":3,"
               "\"BatteryPackCounts\":[2,0,1],\"BatteryPackEncodings\":[["
               "\"000000000000000000000001\",\"000000000000000000000002\"],[],"
               "[\"000000000000000000000003\"]]"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char want[1024];
        struct wire_out unit = wire_out_heap(65536);
        struct json_out json = json_out_heap(1 << 20);
        struct gbt_json_message message;
        const struct gbt_json_options options = {.shape = WIRE_SHAPE_ALIAS, .uplink = true};
        (void)snprintf(want, sizeof(want),
                       "{\"Cmd\":1,\"Encrypt\":1,\"Vin\":\"LPGATE00000000017\",\"Data\":{%s}}",
                       cases[i].data);
        CU_ASSERT_TRUE_FATAL(gbt_encode(cases[i].document, &unit, &message));
        CU_ASSERT_TRUE(gbt_json_write(&json, &message.frame, &options, NULL));
        check_json("login", &json, want);
        json_out_free(&json);
        wire_out_free(&unit);
    }
}

static void commands_of_emqx_become_units(void)
{
#define NOW "1a0301080005"
    static const struct {
        const char *document, *hex;
    } cases[] = {
        {"{\"Action\":\"Query\",\"Total\":2,\"Ids\":[\"0x05\",\"10\",7]}", NOW "0305"
                                                                               "0a"
                                                                               "07"},
        {"{\"Action\":\"Setting\",\"Total\":4,\"Params\":[{\"0x01\":500},{\"0x0D\":4},"
         "{\"0x0E\":\"a.b\"},{\"0x08\":\"1.2\"}]}",
         NOW "04"
             "0101f4"
             "0d03"
             "0e612e62"
             "08312e320000"},
        {"{\"Action\":\"Control\",\"Command\":\"0x06\",\"Param\":{\"Level\":1,\"Message\":\"x\"}}",
         NOW "06"
             "01"
             "78"},
        {"{\"Action\":\"Control\",\"Command\":\"0x01\",\"Param\":{\"DialingName\":\"net\","
         "\"Ip\":\"192.0.2.1\",\"Port\":8080,\"ManufacturerId\":\"ABCD\",\"HardwareVer\":"
         "\"1.0.0\",\"SoftwareVer\":\"1.0.1\",\"UpgradeUrl\":\"ftp://h/f\",\"Timeout\":10}}",
         NOW "01"
             "6e6574"
             "3b"
             "3b"
             "3b"
             "0000c0000201"
             "3b"
             "1f90"
             "3b"
             "41424344"
             "3b"
             "312e302e30"
             "3b"
             "312e302e31"
             "3b"
             "6674703a2f2f682f66"
             "3b"
             "000a"},
        {"{\"Action\":\"Control\",\"Command\":2}", NOW "02"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wire_out unit = wire_out_heap(65536);
        struct gbt_json_message message;
        CU_ASSERT_TRUE_FATAL(gbt_encode(cases[i].document, &unit, &message));
        check_bytes(cases[i].document, message.frame.unit, cases[i].hex);
        wire_out_free(&unit);
    }
}

static void wrong_commands_of_emqx_say_what_is_wrong(void)
{
    static const struct {
        const char *document, *path;
    } cases[] = {
        {"{\"Action\":\"Reboot\"}", "Action"},
        {"{\"Action\":7}", "Action"},
        {"{\"Action\":\"Query\"}", "Ids"},
        {"{\"Action\":\"Query\",\"Ids\":[\"0x100\"]}", "Ids"},
        {"{\"Action\":\"Query\",\"Ids\":[null]}", "Ids"},
        {"{\"Action\":\"Setting\",\"Params\":{\"0x01\":1}}", "Params"},
        {"{\"Action\":\"Setting\",\"Params\":[{\"first\":1}]}", "Params"},
        {"{\"Action\":\"Setting\",\"Params\":[{\"0x01\":70000}]}", "body.parameters[0].value"},
        {"{\"Action\":\"Control\"}", "Command"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct gbt_json_defaults defaults = {.id = (const uint8_t *)"LPGATE00000000017",
                                                   .wall_ms = INT64_C(1772323205000)};
        struct wire_out unit = wire_out_heap(65536);
        struct gbt_json_message message;
        struct wire_error error = {.path = "nothing"};
        CU_ASSERT_FALSE(gbt_json_encode_text(cases[i].document, strlen(cases[i].document),
                                             &defaults, &unit, &message, &error));
        if (strcmp(error.path, cases[i].path) != 0) {
            printf("    %s: %s\n", cases[i].document, error.path);
            CU_FAIL("another place");
        }
        wire_out_free(&unit);
    }
}

static void upgrades_go_there_and_back(void)
{
    /* 15163 is 3b3b, so that a port is made of semicolons. */
    static const struct {
        const char *upgrade, *hex;
    } cases[] = {
        {"{\"url\":\"ftp://h/f\",\"apn\":\"net\",\"username\":\"u\",\"password\":\"p\","
         "\"address\":\"192.0.2.1\",\"port\":15163,\"manufacturer\":\"ABCD\","
         "\"hardware_version\":\"1.0\",\"firmware_version\":\"2.0.0\",\"timeout_min\":59}",
         "6674703a2f2f682f66"
         "3b"
         "6e6574"
         "3b"
         "75"
         "3b"
         "70"
         "3b"
         "0000c0000201"
         "3b"
         "3b3b"
         "3b"
         "41424344"
         "3b"
         "312e300000"
         "3b"
         "322e302e30"
         "3b"
         "003b"},
        {"{\"url\":\"ftp://h/f\",\"timeout_min\":5}", "6674703a2f2f682f66"
                                                      "3b3b3b3b3b3b3b3b3b"
                                                      "0005"},
        {"{\"url\":\"ftp://h/f\",\"apn\":\"net\",\"address\":\"update.example\",\"port\":21,"
         "\"timeout_min\":5,\"form\":\"text\"}",
         "6674703a2f2f682f66"
         "3b"
         "6e6574"
         "3b3b3b"
         "7570646174652e6578616d706c65"
         "3b"
         "3231"
         "3b3b3b3b"
         "35"},
        {"{\"url\":\"ftp://h/f\",\"apn\":\"net\",\"address\":\"10.0.0.1\",\"timeout_min\":5,"
         "\"form\":\"table\"}",
         "6e6574"
         "3b3b3b"
         "00000a000001"
         "3b3b3b3b3b"
         "6674703a2f2f682f66"
         "3b"
         "0005"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char document[1024];
        char want[512];
        struct wire_out unit = wire_out_heap(65536);
        struct json_out json = json_out_heap(1 << 20);
        struct gbt_json_message message;
        const struct gbt_json_options options = {.shape = WIRE_SHAPE_NATIVE};
        (void)snprintf(document, sizeof(document),
                       "{\"message\":\"terminal_control\",\"body\":{\"control\":"
                       "\"remote_upgrade\",\"upgrade\":%s}}",
                       cases[i].upgrade);
        (void)snprintf(want, sizeof(want), NOW "01%s", cases[i].hex);
        CU_ASSERT_TRUE_FATAL(gbt_encode(document, &unit, &message));
        check_bytes(document, message.frame.unit, want);
        CU_ASSERT_TRUE(gbt_json_write(&json, &message.frame, &options, NULL));
        json_t *got = json_loadb(json.data, json.len, 0, NULL);
        json_t *upgrade = json_object_get(json_object_get(got, "body"), "upgrade");
        char *text = upgrade ? json_dumps(upgrade, JSON_COMPACT) : strdup("{}");
        struct json_out only = json_out_over(text, strlen(text));
        only.len = strlen(text);
        check_json(cases[i].upgrade, &only, cases[i].upgrade);
        /* What is printed is the same bytes again. */
        json_out_put(&json, "", 1);
        unit.len = 0;
        CU_ASSERT_TRUE(gbt_encode(json.data, &unit, &message));
        check_bytes("again", message.frame.unit, want);
        free(text);
        json_decref(got);
        json_out_free(&json);
        wire_out_free(&unit);
    }
}

static void wrong_upgrades_say_what_is_wrong(void)
{
    static const struct {
        const char *upgrade, *path;
    } cases[] = {
        {"7", "body.upgrade"},
        {"{\"uri\":\"x\"}", "body.upgrade"},
        {"{\"form\":\"xml\"}", "body.upgrade.form"},
        {"{\"url\":\"a;b\"}", "body.upgrade.url"},
        {"{\"url\":1}", "body.upgrade.url"},
        {"{\"port\":65536}", "body.upgrade.port"},
        {"{\"address\":\"update.example\"}", "body.upgrade.address"},
        {"{\"address\":\"256.0.0.1\"}", "body.upgrade.address"},
        {"{\"manufacturer\":\"ABCDE\"}", "body.upgrade.manufacturer"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct gbt_json_defaults defaults = {.id = (const uint8_t *)"LPGATE00000000017",
                                                   .wall_ms = INT64_C(1772323205000)};
        char document[256];
        struct wire_out unit = wire_out_heap(65536);
        struct gbt_json_message message;
        struct wire_error error = {.path = "nothing"};
        (void)snprintf(document, sizeof(document),
                       "{\"message\":\"terminal_control\",\"body\":{\"control\":1,"
                       "\"upgrade\":%s}}",
                       cases[i].upgrade);
        CU_ASSERT_FALSE(
            gbt_json_encode_text(document, strlen(document), &defaults, &unit, &message, &error));
        CU_ASSERT_STRING_EQUAL(error.path, cases[i].path);
        wire_out_free(&unit);
    }
}

/* ---- JT/T 808 ------------------------------------------------------------------------------- */

static bool jt_encode(const char *document, unsigned edition, struct wire_out *body,
                      struct jt808_json_message *out)
{
    const struct jt808_json_defaults defaults = {
        .edition = edition, .header_2019 = edition == JT808_2019, .phone = "013912345678"};
    struct wire_error error;
    char sentence[512];

    if (!jt808_json_encode_text(document, strlen(document), &defaults, body, out, &error)) {
        wire_error_sentence(&error, sentence, sizeof(sentence));
        printf("    %s: %s\n", document, sentence);
        return false;
    }
    return true;
}

static void check_uplink(const char *document, const char *expected)
{
    struct wire_out body = wire_out_heap(65536);
    struct json_out json = json_out_heap(1 << 20);
    struct jt808_json_message message;
    const struct jt808_json_options options = {.shape = WIRE_SHAPE_ALIAS};

    CU_ASSERT_TRUE_FATAL(jt_encode(document, JT808_2013, &body, &message));
    CU_ASSERT_TRUE(jt808_json_write(&json, &message.frame, &options, NULL));
    json_t *got = json_loadb(json.data, json.len, JSON_REJECT_DUPLICATES, NULL);
    char *text = json_dumps(json_object_get(got, "body"), JSON_COMPACT);
    struct json_out only = json_out_over(text, strlen(text));
    only.len = strlen(text);
    check_json(document, &only, expected);
    CU_ASSERT_STRING_EQUAL(
        json_string_value(json_object_get(json_object_get(got, "header"), "phone")),
        "013912345678");
    free(text);
    json_decref(got);
    json_out_free(&json);
    wire_out_free(&body);
}

static void terminals_have_emqx_names(void)
{
#define PLACE                                                                                      \
    "\"alarm\":2,\"status\":3,\"latitude\":31.5,\"longitude\":121.25,\"altitude\":10,"             \
    "\"speed\":36.5,\"direction\":90,\"time\":\"2026-03-01T08:00:00+08:00\""
#define PRESSURES        "0102ffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
#define PRESSURES_BASE64 "AQL/////////////////////////////////////"
#define PLACE_EMQX                                                                                 \
    "\"alarm\":2,\"status\":3,\"latitude\":31500000,\"longitude\":121250000,\"altitude\":10,"      \
    "\"speed\":365,\"direction\":90,\"time\":\"260301080000\""
    check_uplink("{\"message\":\"location_report\",\"body\":{" PLACE "}}", "{" PLACE_EMQX "}");
    check_uplink("{\"message\":\"location_report\",\"body\":{" PLACE ",\"additional\":{"
                 "\"carriage_temperature\":-10,\"0x05\":{\"hex\":\"" PRESSURES "\"},"
                 "\"overspeed\":{\"position_type\":\"circle\",\"area_id\":7},"
                 "\"io_status\":{\"value\":2},\"0xe1\":{\"hex\":\"01\"},\"0xff\":{\"hex\":\"02\"},"
                 "\"0x50\":{\"hex\":\"03\"}}}}",
                 "{" PLACE_EMQX
                 ",\"extra\":{\"carriage_temp\":-10,\"tire_pressure\":\"" PRESSURES_BASE64
                 "\",\"overspeed_alarm\":{\"type\":1,\"id\":7},"
                 "\"io_status\":{\"deep_sleep\":0,\"sleep\":1},\"80\":\"Aw==\",\"custome\":{"
                 "\"225\":\"AQ==\",\"255\":\"Ag==\"}}}");
    check_uplink("{\"message\":\"location_query_response\",\"body\":{\"ack_serial\":5,"
                 "\"location\":{" PLACE "}}}",
                 "{\"seq\":5,\"params\":{" PLACE_EMQX "}}");
    check_uplink("{\"message\":\"vehicle_control_response\",\"body\":{\"ack_serial\":5,"
                 "\"location\":{" PLACE "}}}",
                 "{\"seq\":5,\"location\":{" PLACE_EMQX "}}");
    check_uplink("{\"message\":\"location_batch\",\"body\":{\"type\":\"supplement\","
                 "\"locations\":[{" PLACE "},{" PLACE "}]}}",
                 "{\"length\":2,\"type\":1,\"location\":[{" PLACE_EMQX "},{" PLACE_EMQX "}]}");
    check_uplink("{\"message\":\"can_data\",\"body\":{\"time\":\"0800001234\",\"items\":[{"
                 "\"channel\":1,\"frame_type\":0,\"method\":1,\"can_id\":291,"
                 "\"data_hex\":\"0102030405060708\"}]}}",
                 "{\"length\":1,\"time\":\"0800001234\",\"can_data\":[{\"channel\":1,"
                 "\"frame_type\":0,\"data_method\":1,\"id\":291,\"data\":\"AQIDBAUGBwg=\"}]}");
    check_uplink(
        "{\"message\":\"multimedia_data\",\"body\":{\"media_id\":9,\"media_type\":"
        "\"picture\",\"format\":\"jpeg\",\"event\":\"platform\",\"channel\":1,"
        "\"location\":{" PLACE "},\"data_hex\":\"cafe\"}}",
        "{\"id\":9,\"type\":0,\"format\":0,\"event\":0,\"channel\":1,\"location\":{" PLACE_EMQX
        "},\"multimedia\":\"yv4=\"}");
    check_uplink("{\"message\":\"uplink_pass_through\",\"body\":{\"type\":65,"
                 "\"data_hex\":\"cafe\"}}",
                 "{\"type\":65,\"data\":\"yv4=\"}");
    /* EMQX has no table for the messages of JT/T 1078. */
    check_uplink("{\"message\":\"file_upload_finished\",\"body\":{\"ack_serial\":1,"
                 "\"result\":\"ok\"}}",
                 "{\"unknown_id\":true,\"data\":\"AAEA\"}");
}

static void commands_of_emqx_become_bodies(void)
{
    static const struct {
        unsigned edition;
        const char *document, *hex;
    } cases[] = {
        {JT808_2013, "{\"header\":{\"msg_id\":33281},\"body\":{}}", ""},
        {JT808_2013, "{\"header\":{\"msg_id\":33284}}", ""},
        {JT808_2013, "{\"header\":{\"msg_id\":33536},\"body\":{\"flag\":8,\"text\":\"hi\"}}",
         "08"
         "6869"},
        {JT808_2019, "{\"header\":{\"msg_id\":33536},\"body\":{\"flag\":8,\"text\":\"hi\"}}",
         "08"
         "01"
         "6869"},
        {JT808_2013, "{\"header\":{\"msg_id\":34305},\"body\":{\"length\":2,\"ids\":[1,2]}}",
         "02"
         "00000001"
         "00000002"},
        {JT808_2013, "{\"header\":{\"msg_id\":34048},\"body\":{\"flag\":1}}", "01"},
        {JT808_2019,
         "{\"header\":{\"msg_id\":34048},\"body\":{\"count\":1,\"controls\":[{\"id\":1,"
         "\"param\":\"\\u0001\"}]}}",
         "0001"
         "0001"
         "01"},
        {JT808_2019,
         "{\"header\":{\"msg_id\":34304},\"body\":{\"type\":1,\"length\":1,\"areas\":[{\"id\":7,"
         "\"flag\":2,\"center_latitude\":31000000,\"center_longitude\":121000000,\"radius\":500,"
         "\"max_speed\":60,\"overspeed_duration\":5}]}}",
         "01"
         "01"
         "00000007"
         "0002"
         "01d905c0"
         "07365040"
         "000001f4"
         "003c"
         "05"
         "0000"
         "0000"},
        {JT808_2013,
         "{\"header\":{\"msg_id\":33793},\"body\":{\"type\":1,\"length\":1,\"contacts\":[{"
         "\"type\":3,\"phone_len\":3,\"phone\":\"110\",\"name_len\":99,\"name\":\"A\"}]}}",
         "01"
         "01"
         "03"
         "03"
         "313130"
         "01"
         "41"},
        {JT808_2013, "{\"header\":{\"msg_id\":35072},\"body\":{\"type\":65,\"data\":\"yv4=\"}}",
         "41"
         "cafe"},
        {JT808_2013,
         "{\"header\":{\"msg_id\":33032},\"body\":{\"type\":0,\"manufacturer\":\"ABCDE\","
         "\"ver_len\":9,\"version\":\"1\",\"fw_len\":9,\"firmware\":\"xy\"}}",
         "00"
         "4142434445"
         "01"
         "31"
         "00000002"
         "7879"},
        {JT808_2013,
         "{\"header\":{\"msg_id\":40000},\"body\":{\"unknown_id\":true,\"data\":\"yv4=\"}}",
         "cafe"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wire_out body = wire_out_heap(65536);
        struct jt808_json_message message;
        CU_ASSERT_TRUE_FATAL(jt_encode(cases[i].document, cases[i].edition, &body, &message));
        check_bytes(cases[i].document, message.frame.body, cases[i].hex);
        CU_ASSERT_FALSE(message.serial_given);
        wire_out_free(&body);
    }
}

static void wrong_documents_of_emqx_say_what_is_wrong(void)
{
    static const struct {
        const char *document, *path;
    } cases[] = {
        {"{\"header\":{}}", "header.msg_id"},
        {"{\"header\":{\"msg_id\":\"8300\"}}", "header.msg_id"},
        {"{\"header\":{\"msg_id\":70000}}", "header.msg_id"},
        {"{\"header\":{\"msg_id\":33536,\"msg_sn\":-1}}", "header.msg_sn"},
        {"{\"header\":{\"msg_id\":33536},\"body\":{\"flag\":8}}", "body.text"},
        {"{\"header\":{\"msg_id\":35072},\"body\":{\"type\":1,\"data\":\"yv4\"}}", "body.data_hex"},
        {"{\"header\":{\"msg_id\":40000},\"body\":{}}", "body.data"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct jt808_json_defaults defaults = {.phone = "013912345678"};
        struct wire_out body = wire_out_heap(65536);
        struct jt808_json_message message;
        struct wire_error error = {.path = "nothing"};
        CU_ASSERT_FALSE(jt808_json_encode_text(cases[i].document, strlen(cases[i].document),
                                               &defaults, &body, &message, &error));
        CU_ASSERT_STRING_EQUAL(error.path, cases[i].path);
        wire_out_free(&body);
    }
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(reports_of_2016_have_emqx_names),
        TEST(reports_of_2025_have_emqx_names),
        TEST(logins_have_emqx_names),
        TEST(commands_of_emqx_become_units),
        TEST(wrong_commands_of_emqx_say_what_is_wrong),
        TEST(upgrades_go_there_and_back),
        TEST(wrong_upgrades_say_what_is_wrong),
        TEST(terminals_have_emqx_names),
        TEST(commands_of_emqx_become_bodies),
        TEST(wrong_documents_of_emqx_say_what_is_wrong),
        CU_TEST_INFO_NULL,
    };
    return run_suite("emqx_shape", tests);
}
