/* SPDX-License-Identifier: Apache-2.0 */

/* The information types of real-time and re-issued reports, both editions.
 *
 * A type has no length: it ends where its rows end. 06, 07 and 08 changed their meaning with the
 * edition of 2025. Types that no edition defines end the reading; user-defined ones carry their
 * length. The signature of 2025 comes behind a marker that is read like a type.
 *
 * standard  GB/T 32960.3-2016, -2025: chapter 7
 */

#include "gbt32960_rows.h"

enum { R_COUNT = 1, R_INNER = 2, R_STATUS = 3, R_OTHER = 4, R_LEVELS = 5 };

static const struct wire_name yes[] = {{1, "true"}, {0, "false"}, {0, NULL}};
static const struct wire_name no[] = {{0, "true"}, {1, "false"}, {0, NULL}};

/* ---- 01 vehicle ----------------------------------------------------------------------------- */

static const struct wire_name vehicle_states[] = {
    {1, "started"}, {2, "stopped"}, {3, "other"}, {0, NULL}};
static const struct wire_name charge_states[] = {{1, "parked_charging"},
                                                 {2, "driving_charging"},
                                                 {3, "not_charging"},
                                                 {4, "charge_complete"},
                                                 {0, NULL}};
static const struct wire_name run_modes[] = {
    {1, "electric"}, {2, "hybrid"}, {3, "fuel"}, {0, NULL}};
static const struct wire_name dcdc_states[] = {{1, "working"}, {2, "disconnected"}, {0, NULL}};
static const struct wire_name gears[] = {
    {0, "neutral"}, {13, "reverse"}, {14, "drive"}, {15, "park"}, {0, NULL}};

static const struct wire_row gear_bits[] = {
    ROW("gear", WIRE_PART, EMQX("Gear"), .width = 4, .names = gears, .flags = WIRE_ALIAS_WHOLE),
    BIT("driving_force", 5, yes, 0, EMQX("")),
    BIT("braking_force", 4, yes, 0, EMQX("")),
    BIT("valid", 7, no, 0, EMQX(""), ONLY_2025),
    ROW("reserved", WIRE_PART, EMQX(""), .width = 2, .shift = 6, .flags = WIRE_QUIET, ONLY_2016),
    ROW("reserved", WIRE_PART, EMQX(""), .width = 1, .shift = 6, .flags = WIRE_QUIET, ONLY_2025),
    END_OF_ROWS};
static const struct wire_row gear[] = {ROW("bits", WIRE_PACK, .width = 1, .rows = gear_bits),
                                       END_OF_ROWS};

static const struct wire_row vehicle[] = {
    STATE("vehicle_status", vehicle_states, EMQX("Status")),
    STATE("charge_status", charge_states, EMQX("Charging")),
    STATE("run_mode", run_modes, EMQX("Mode")),
    NUMBER("speed_kmh", 2, 0, 2200, EMQX("Speed"), TENTHS("km/h", 0), ONLY_2016),
    NUMBER("speed_kmh", 2, 0, 5000, EMQX("Speed"), TENTHS("km/h", 0), ONLY_2025),
    NUMBER("mileage_km", 4, 0, 9999999, EMQX("Mileage"), TENTHS("km", 0)),
    NUMBER("total_voltage_v", 2, 0, 10000, EMQX("Voltage"), TENTHS("V", 0), ONLY_2016),
    NUMBER("total_voltage_v", 2, 0, 60000, EMQX("Voltage"), TENTHS("V", 0), ONLY_2025),
    NUMBER("total_current_a", 2, 0, 20000, EMQX("Current"), TENTHS("A", -10000), ONLY_2016),
    NUMBER("total_current_a", 2, 0, 60000, EMQX("Current"), TENTHS("A", -30000), ONLY_2025),
    NUMBER("soc_percent", 1, 0, 100, EMQX("SOC"), WHOLE("%", 0)),
    STATE("dcdc_status", dcdc_states, EMQX("DC")),
    ROW("gear", WIRE_STRUCT, EMQX(""), .rows = gear),
    NUMBER("insulation_resistance_kohm", 2, 0, 60000, EMQX("Resistance"), WHOLE("kOhm", 0)),
    NUMBER("accelerator_pedal_percent", 1, 0, 100, EMQX("AcceleratorPedal"), WHOLE("%", 0),
           ONLY_2016),
    NUMBER("brake_pedal_percent", 1, 0, 101, EMQX("BrakePedal"), WHOLE("%", 0),
           .clause = "101: pressed, how far is not known", ONLY_2016),
    END_OF_ROWS};

/* ---- 02 drive motors ------------------------------------------------------------------------ */

static const struct wire_name motor_states[] = {
    {1, "consuming"}, {2, "generating"}, {3, "off"}, {4, "ready"}, {0, NULL}};

static const struct wire_row motor[] = {
    NUMBER("number", 1, 1, 253, EMQX("No")),
    STATE("status", motor_states, EMQX("Status")),
    NUMBER("controller_temperature_c", 1, 0, 250, EMQX("CtrlTemp"), CELSIUS),
    NUMBER("speed_rpm", 2, 0, 65531, EMQX("Rotating"), WHOLE("rpm", -20000), ONLY_2016),
    NUMBER("speed_rpm", 2, 0, 65531, EMQX("Rotating"), WHOLE("rpm", -32000), ONLY_2025),
    NUMBER("torque_nm", 2, 0, 65531, EMQX("Torque"), TENTHS("Nm", -20000), ONLY_2016),
    NUMBER("torque_nm", 4, 0, 400000, EMQX("Torque"), TENTHS("Nm", -200000), ONLY_2025),
    NUMBER("motor_temperature_c", 1, 0, 250, EMQX("MotorTemp"), CELSIUS),
    NUMBER("controller_input_voltage_v", 2, 0, 60000, EMQX("InputVoltage"), TENTHS("V", 0),
           ONLY_2016),
    NUMBER("dc_bus_current_a", 2, 0, 20000, EMQX("DCBusCurrent"), TENTHS("A", -10000), ONLY_2016),
    END_OF_ROWS};
static const struct wire_row motors[] = {COUNT("motor_count", 1, R_COUNT, 1, 253, EMQX("Number")),
                                         LIST("motors", motor, R_COUNT, EMQX("Motors")),
                                         END_OF_ROWS};

/* ---- 03 fuel cell --------------------------------------------------------------------------- */

static const struct wire_row probe_2016[] = {VALUE(1, 0, 240, CELSIUS), END_OF_ROWS};
static const struct wire_row probe[] = {VALUE(1, 0, 250, CELSIUS), END_OF_ROWS};

static const struct wire_row fuel_cell[] = {
    NUMBER("voltage_v", 2, 0, 20000, EMQX("CellVoltage"), TENTHS("V", 0)),
    NUMBER("current_a", 2, 0, 20000, EMQX("CellCurrent"), TENTHS("A", 0)),
    NUMBER("fuel_consumption_kg_per_100km", 2, 0, 60000, EMQX("FuelConsumption"),
           HUNDREDTHS("kg/100 km")),
    COUNT("probe_count", 2, R_COUNT, 0, 65531, EMQX("ProbeNum")),
    LIST("probe_temperatures_c", probe_2016, R_COUNT, EMQX("ProbeTemps")),
    NUMBER("hydrogen_max_temperature_c", 2, 0, 2400, EMQX("H_MaxTemp"), TENTHS("C", -400)),
    NUMBER("hydrogen_max_temperature_probe", 1, 1, 252, EMQX("H_TempProbeCode")),
    NUMBER("hydrogen_max_concentration_mg_per_kg", 2, 0, 60000, EMQX("H_MaxConc"),
           WHOLE("mg/kg", 0)),
    NUMBER("hydrogen_max_concentration_sensor", 1, 1, 252, EMQX("H_ConcSensorCode")),
    NUMBER("hydrogen_max_pressure_mpa", 2, 0, 1000, EMQX("H_MaxPress"), TENTHS("MPa", 0)),
    NUMBER("hydrogen_max_pressure_sensor", 1, 1, 252, EMQX("H_PressSensorCode")),
    STATE("high_voltage_dcdc_status", dcdc_states, EMQX("DCStatus")),
    END_OF_ROWS};

static const struct wire_row fuel_cell_engine[] = {
    NUMBER("hydrogen_max_temperature_c", 2, 0, 250, EMQX("H_MaxTemp"), CELSIUS),
    NUMBER("hydrogen_max_temperature_probe", 1, 1, 253, EMQX("H_TempProbeCode")),
    NUMBER("hydrogen_max_concentration_percent", 2, 0, 60000, EMQX("H_MaxConc"), .decimals = 4,
           .unit = "%"),
    NUMBER("hydrogen_max_concentration_sensor", 1, 1, 253, EMQX("H_ConcSensorCode")),
    NUMBER("hydrogen_max_pressure_mpa", 2, 0, 1000, EMQX("H_MaxPress"), TENTHS("MPa", 0)),
    NUMBER("hydrogen_max_pressure_sensor", 1, 1, 253, EMQX("H_PressSensorCode")),
    STATE("high_voltage_dcdc_status", dcdc_states, EMQX("DCStatus")),
    NUMBER("hydrogen_remaining_percent", 1, 0, 100, EMQX("RemainingH2"), WHOLE("%", 0)),
    NUMBER("high_voltage_dcdc_temperature_c", 1, 0, 250, EMQX("DCDCTemp"), CELSIUS),
    END_OF_ROWS};

/* ---- 04 engine, 05 position ----------------------------------------------------------------- */

static const struct wire_name engine_states[] = {{1, "started"}, {2, "stopped"}, {0, NULL}};

static const struct wire_row engine[] = {
    STATE("status", engine_states, EMQX("Status"), ONLY_2016),
    NUMBER("crankshaft_speed_rpm", 2, 0, 60000, EMQX("CrankshaftSpeed"), WHOLE("rpm", 0)),
    NUMBER("fuel_consumption_l_per_100km", 2, 0, 60000, EMQX("FuelConsumption"),
           HUNDREDTHS("l/100 km"), ONLY_2016),
    END_OF_ROWS};

/* Bit 0 set means that the fix is not valid and the last valid position is sent. The bits of the
 * hemispheres are the signs of the coordinates; they are shown when they are set, since those of
 * a coordinate that is zero or no value have no sign to stand in. */
static const struct wire_row position_bits[] = {
    BIT("positioning_valid", 0, no, WIRE_ALIAS_WHOLE, EMQX("Status")),
    BIT("south", 1, yes, WIRE_QUIET, EMQX("")), BIT("west", 2, yes, WIRE_QUIET, EMQX("")),
    ROW("status_reserved", WIRE_PART, EMQX(""), .width = 5, .shift = 3, .flags = WIRE_QUIET),
    END_OF_ROWS};
static const struct wire_name systems[] = {{1, "wgs84"}, {2, "gcj02"}, {3, "other"}, {0, NULL}};

static const struct wire_row position[] = {
    ROW("status", WIRE_PACK, .width = 1, .keep = R_STATUS, .rows = position_bits),
    STATE("coordinate_system", systems, EMQX("CoordinateSystem"), ONLY_2025),
    NUMBER("longitude_deg", 4, 0, 180000000, EMQX("Longitude"), .decimals = 6, .unit = "deg",
           .sign = R_STATUS, .sign_mask = 4),
    NUMBER("latitude_deg", 4, 0, 90000000, EMQX("Latitude"), .decimals = 6, .unit = "deg",
           .sign = R_STATUS, .sign_mask = 2),
    END_OF_ROWS};

/* ---- 2016: 06 extremes, 2025: 32 supercapacitor extremes ------------------------------------ */

static const struct wire_row extremes[] = {
    NUMBER("max_voltage_subsystem", 1, 1, 250, EMQX("MaxVoltageBatterySubsysNo")),
    NUMBER("max_voltage_cell", 1, 1, 250, EMQX("MaxVoltageBatteryCode")),
    NUMBER("max_cell_voltage_v", 2, 0, 15000, EMQX("MaxBatteryVoltage"), THOUSANDTHS("V")),
    NUMBER("min_voltage_subsystem", 1, 1, 250, EMQX("MinVoltageBatterySubsysNo")),
    NUMBER("min_voltage_cell", 1, 1, 250, EMQX("MinVoltageBatteryCode")),
    NUMBER("min_cell_voltage_v", 2, 0, 15000, EMQX("MinBatteryVoltage"), THOUSANDTHS("V")),
    NUMBER("max_temperature_subsystem", 1, 1, 250, EMQX("MaxTempSubsysNo")),
    NUMBER("max_temperature_probe", 1, 1, 250, EMQX("MaxTempProbeNo")),
    NUMBER("max_temperature_c", 1, 0, 250, EMQX("MaxTemp"), CELSIUS),
    NUMBER("min_temperature_subsystem", 1, 1, 250, EMQX("MinTempSubsysNo")),
    NUMBER("min_temperature_probe", 1, 1, 250, EMQX("MinTempProbeNo")),
    NUMBER("min_temperature_c", 1, 0, 250, EMQX("MinTemp"), CELSIUS),
    END_OF_ROWS};

static const struct wire_row supercapacitor_extremes[] = {
    NUMBER("max_voltage_system", 1, 1, 253, EMQX("MaxVoltageManagerSysNo")),
    NUMBER("max_voltage_cell", 2, 1, 65531, EMQX("MaxVoltageCellCode")),
    NUMBER("max_cell_voltage_v", 2, 0, 60000, EMQX("MaxVoltageCellValue"), THOUSANDTHS("V")),
    NUMBER("min_voltage_system", 1, 1, 253, EMQX("MinVoltageManagerSysNo")),
    NUMBER("min_voltage_cell", 2, 1, 65531, EMQX("MinVoltageCellCode")),
    NUMBER("min_cell_voltage_v", 2, 0, 60000, EMQX("MinVoltageCellValue"), THOUSANDTHS("V")),
    NUMBER("max_temperature_system", 1, 1, 253, EMQX("MaxTempManagerSysNo")),
    NUMBER("max_temperature_probe", 2, 1, 65531, EMQX("MaxTempProbeCode")),
    NUMBER("max_temperature_c", 1, 0, 250, EMQX("MaxTempValue"), CELSIUS),
    NUMBER("min_temperature_system", 1, 1, 253, EMQX("MinTempManagerSysNo")),
    NUMBER("min_temperature_probe", 2, 1, 65531, EMQX("MinTempProbeCode")),
    NUMBER("min_temperature_c", 1, 0, 250, EMQX("MinTempValue"), CELSIUS),
    END_OF_ROWS};

/* ---- alarm: 07 in 2016, 06 in 2025 ---------------------------------------------------------- */

#define ALARMS_OF_BOTH                                                                             \
    "temperature_difference", "battery_high_temperature", "ess_overvoltage", "ess_undervoltage",   \
        "soc_low", "cell_overvoltage", "cell_undervoltage", "soc_high", "soc_jump",                \
        "ess_mismatch", "cell_poor_consistency", "insulation", "dcdc_temperature", "brake_system", \
        "dcdc_status", "motor_controller_temperature", "high_voltage_interlock",                   \
        "motor_temperature", "ess_overcharge"

static const struct wire_bits alarms_2016 = {
    .names = {ALARMS_OF_BOTH, "reserved_19", "reserved_20", "reserved_21", "reserved_22",
              "reserved_23", "reserved_24", "reserved_25", "reserved_26", "reserved_27",
              "reserved_28", "reserved_29", "reserved_30", "reserved_31"},
    .list = "general_alarms"};
static const struct wire_bits alarms_2025 = {
    .names = {ALARMS_OF_BOTH, "motor_overspeed", "motor_overcurrent",
              "supercapacitor_overtemperature", "supercapacitor_overvoltage", "ess_thermal_event",
              "hydrogen_leak", "hydrogen_pressure_abnormal", "hydrogen_temperature_abnormal",
              "fuel_cell_stack_overtemperature", "reserved_28", "reserved_29", "reserved_30",
              "reserved_31"},
    .list = "general_alarms"};

/* EMQX has codes of 2016 in four digits at least, those of 2025 in eight. */
static const struct wire_row fault_2016[] = {
    {.kind = WIRE_HEX, .width = 4, .flags = WIRE_ALIAS_SHORT}, END_OF_ROWS};
static const struct wire_row fault_2025[] = {
    {.kind = WIRE_HEX, .width = 4, .flags = WIRE_ALIAS_DIGITS}, END_OF_ROWS};
static const struct wire_row alarm_level[] = {NUMBER("bit", 1, 0, 31, EMQX("No")),
                                              NUMBER("level", 1, 0, 4, EMQX("Level")), END_OF_ROWS};

static const struct wire_row alarm_2016[] = {
    NUMBER("max_level", 1, 0, 3, EMQX("MaxAlarmLevel")),
    ROW("general_flags", WIRE_BITS, EMQX("GeneralAlarmFlag"), .width = 4, .bits = &alarms_2016),
    COUNT("ess_fault_count", 1, R_COUNT, 0, 252, EMQX("FaultChargeableDeviceNum")),
    LIST("ess_faults", fault_2016, R_COUNT, EMQX("FaultChargeableDeviceList")),
    COUNT("motor_fault_count", 1, R_INNER, 0, 252, EMQX("FaultDriveMotorNum")),
    LIST("motor_faults", fault_2016, R_INNER, EMQX("FaultDriveMotorList")),
    COUNT("engine_fault_count", 1, R_STATUS, 0, 252, EMQX("FaultEngineNum")),
    LIST("engine_faults", fault_2016, R_STATUS, EMQX("FaultEngineList")),
    COUNT("other_fault_count", 1, R_OTHER, 0, 252, EMQX("FaultOthersNum")),
    LIST("other_faults", fault_2016, R_OTHER, EMQX("FaultOthersList")),
    END_OF_ROWS};
static const struct wire_row alarm_2025[] = {
    NUMBER("max_level", 1, 0, 4, EMQX("MaxAlarmLevel")),
    ROW("general_flags", WIRE_BITS, EMQX("GeneralAlarmFlag"), .width = 4, .bits = &alarms_2025),
    COUNT("ess_fault_count", 1, R_COUNT, 0, 253, EMQX("FaultChargeableDeviceNum")),
    LIST("ess_faults", fault_2025, R_COUNT, EMQX("FaultChargeableDeviceList")),
    COUNT("motor_fault_count", 1, R_INNER, 0, 253, EMQX("FaultDriveMotorNum")),
    LIST("motor_faults", fault_2025, R_INNER, EMQX("FaultDriveMotorList")),
    COUNT("engine_fault_count", 1, R_STATUS, 0, 253, EMQX("FaultEngineNum")),
    LIST("engine_faults", fault_2025, R_STATUS, EMQX("FaultEngineList")),
    COUNT("other_fault_count", 1, R_OTHER, 0, 253, EMQX("FaultOthersNum")),
    LIST("other_faults", fault_2025, R_OTHER, EMQX("FaultOthersList")),
    COUNT("general_alarm_level_count", 1, R_LEVELS, 0, 253, EMQX("FaultGeneralNum")),
    LIST("general_alarm_levels", alarm_level, R_LEVELS, EMQX("FaultGeneralList")),
    END_OF_ROWS};

/* ---- 2016: 08 and 09, 2025: 07 and 08, batteries -------------------------------------------- */

static const struct wire_row cell[] = {VALUE(2, 0, 60000, THOUSANDTHS("V")), END_OF_ROWS};

/* Cells beyond 200 come in further frames of the same time; `frame_start_cell` counts from 1. */
const struct wire_row gbt_rows_voltage_subsystem[] = {
    NUMBER("number", 1, 1, 250, EMQX("ChargeableSubsysNo")),
    NUMBER("voltage_v", 2, 0, 10000, EMQX("ChargeableVoltage"), TENTHS("V", 0)),
    NUMBER("current_a", 2, 0, 20000, EMQX("ChargeableCurrent"), TENTHS("A", -10000)),
    NUMBER("cell_count", 2, 1, 65531, EMQX("CellsTotal")),
    PLAIN("frame_start_cell", 2, EMQX("FrameCellsIndex"), .flags = WIRE_RANGE, .low = 1,
          .high = 65531),
    COUNT("frame_cell_count", 1, R_INNER, 1, 200, EMQX("FrameCellsCount")),
    LIST("cell_voltages_v", cell, R_INNER, EMQX("CellsVoltage")),
    END_OF_ROWS};
static const struct wire_row ess_voltage[] = {
    COUNT("subsystem_count", 1, R_COUNT, 1, 250, EMQX("Number")),
    LIST("subsystems", gbt_rows_voltage_subsystem, R_COUNT, EMQX("SubSystems")), END_OF_ROWS};

static const struct wire_row temperature_subsystem[] = {
    NUMBER("number", 1, 1, 250, EMQX("ChargeableSubsysNo")),
    COUNT("probe_count", 2, R_INNER, 1, 65531, EMQX("ProbeNum")),
    LIST("probe_temperatures_c", probe, R_INNER, EMQX("ProbesTemp")), END_OF_ROWS};
static const struct wire_row ess_temperature[] = {
    COUNT("subsystem_count", 1, R_COUNT, 1, 250, EMQX("Number")),
    LIST("subsystems", temperature_subsystem, R_COUNT, EMQX("SubSystems")), END_OF_ROWS};

static const struct wire_row voltage_pack[] = {
    NUMBER("number", 1, 1, 50, EMQX("BatteryPackNo")),
    NUMBER("voltage_v", 2, 0, 60000, EMQX("BatteryPackVoltage"), TENTHS("V", 0)),
    NUMBER("current_a", 2, 0, 60000, EMQX("BatteryPackCurrent"), TENTHS("A", -30000)),
    COUNT("parallel_unit_count", 2, R_INNER, 1, 65531, EMQX("MinParallelUnitTotal")),
    LIST("parallel_unit_voltages_v", cell, R_INNER, EMQX("MinParallelUnitVoltage")),
    END_OF_ROWS};
static const struct wire_row pack_voltage[] = {
    COUNT("pack_count", 1, R_COUNT, 0, 50, EMQX("Number")),
    LIST("packs", voltage_pack, R_COUNT, EMQX("SubSystems")), END_OF_ROWS};

static const struct wire_row temperature_pack[] = {
    NUMBER("number", 1, 1, 50, EMQX("BatteryPackNo")),
    COUNT("probe_count", 2, R_INNER, 1, 65531, EMQX("ProbeNum")),
    LIST("probe_temperatures_c", probe, R_INNER, EMQX("ProbesTemp")), END_OF_ROWS};
static const struct wire_row pack_temperature[] = {
    COUNT("pack_count", 1, R_COUNT, 0, 50, EMQX("Number")),
    LIST("packs", temperature_pack, R_COUNT, EMQX("SubSystems")), END_OF_ROWS};

/* The voltages of a whole subsystem, put together from the frames that it came in. */
const struct wire_row gbt_rows_joined_cells[] = {
    TIME("time"), NUMBER("number", 1, 1, 250), COUNT("cell_count", 2, R_COUNT, 1, 65531),
    LIST("cell_voltages_v", cell, R_COUNT), END_OF_ROWS};

/* ---- 2025: 30 fuel cell stacks, 31 supercapacitor ------------------------------------------- */

static const struct wire_row stack[] = {
    NUMBER("number", 1, 1, 253, EMQX("FuelCellStackNo")),
    NUMBER("voltage_v", 2, 0, 20000, EMQX("Voltage"), TENTHS("V", 0)),
    NUMBER("current_a", 2, 0, 20000, EMQX("Current"), TENTHS("A", 0)),
    NUMBER("hydrogen_inlet_pressure_kpa", 2, 0, 5000, EMQX("H2InletPressure"),
           TENTHS("kPa", -1000)),
    NUMBER("air_inlet_pressure_kpa", 2, 0, 5000, EMQX("AirInletPressure"), TENTHS("kPa", -1000)),
    NUMBER("air_inlet_temperature_c", 1, 0, 250, EMQX("AirInletTemp"), CELSIUS),
    COUNT("coolant_outlet_probe_count", 2, R_INNER, 0, 65531, EMQX("StackProbeNum")),
    LIST("coolant_outlet_temperatures_c", probe, R_INNER, EMQX("StackProbeTemp")),
    END_OF_ROWS};
static const struct wire_row stacks[] = {COUNT("stack_count", 1, R_COUNT, 1, 253, EMQX("Number")),
                                         LIST("stacks", stack, R_COUNT, EMQX("Stacks")),
                                         END_OF_ROWS};

static const struct wire_row supercapacitor[] = {
    NUMBER("management_system_number", 1, 1, 253, EMQX("ManagerSysNo")),
    NUMBER("total_voltage_v", 2, 0, 10000, EMQX("TotalVoltage"), TENTHS("V", 0)),
    NUMBER("total_current_a", 2, 0, 60000, EMQX("TotalCurrent"), TENTHS("A", -30000)),
    COUNT("cell_count", 2, R_COUNT, 1, 65531, EMQX("CellsTotal")),
    LIST("cell_voltages_v", cell, R_COUNT, EMQX("CellsVoltage")),
    COUNT("probe_count", 2, R_INNER, 1, 65531, EMQX("ProbeNum")),
    LIST("probe_temperatures_c", probe, R_INNER, EMQX("ProbeTemp")),
    END_OF_ROWS};

/* ---- 80 to fe user-defined, ff signature ---------------------------------------------------- */

static const struct wire_row user_defined[] = {HEX_COUNTED("hex"), END_OF_ROWS};

static const struct wire_name algorithms[] = {{1, "sm2"}, {2, "rsa"}, {3, "ecc"}, {0, NULL}};
const struct wire_row gbt_rows_signature[] = {
    ROW("algorithm", WIRE_UINT, .width = 1, .flags = WIRE_RANGE, .names = algorithms),
    HEX_COUNTED("r_hex"), HEX_COUNTED("s_hex"), END_OF_ROWS};
static const struct wire_row signature_emqx[] = {
    PLAIN("SignatureType", 1), /* in digits, with lengths */
    ROW("RLength", WIRE_COUNT, .width = 2, .keep = R_COUNT),
    ROW("RValue", WIRE_HEX, .count = R_COUNT, .flags = WIRE_EXACT | WIRE_ALIAS_DIGITS),
    ROW("SLength", WIRE_COUNT, .width = 2, .keep = R_INNER),
    ROW("SValue", WIRE_HEX, .count = R_INNER, .flags = WIRE_EXACT | WIRE_ALIAS_DIGITS),
    END_OF_ROWS};

/* ---- all of them ---------------------------------------------------------------------------- */

/* The second name is EMQX's. */
#define OF_2016(code, label, emqx, table)                                                          \
    {                                                                                              \
        .id = (code), .name = (label), .alias = (emqx), .any_length = true, .until = GBT_2016,     \
        .rows = (table)                                                                            \
    }
#define OF_2025(code, label, emqx, table)                                                          \
    {                                                                                              \
        .id = (code), .name = (label), .alias = (emqx), .any_length = true, .since = GBT_2025,     \
        .rows = (table)                                                                            \
    }
#define OF_BOTH(code, label, emqx, table)                                                          \
    {                                                                                              \
        .id = (code), .name = (label), .alias = (emqx), .any_length = true, .rows = (table)        \
    }

static const struct wire_item items[] = {
    OF_BOTH(0x01, "vehicle", "Vehicle", vehicle),
    OF_BOTH(0x02, "drive_motors", "DriveMotor", motors),
    OF_2016(0x03, "fuel_cell", "FuelCell", fuel_cell),
    OF_2025(0x03, "fuel_cell_engine", "FuelCell", fuel_cell_engine),
    OF_BOTH(0x04, "engine", "Engine", engine),
    OF_BOTH(0x05, "position", "Location", position),
    OF_2016(0x06, "extremes", "Extreme", extremes),
    OF_2025(0x06, "alarm", "Alarm", alarm_2025),
    OF_2016(0x07, "alarm", "Alarm", alarm_2016),
    OF_2025(0x07, "battery_parallel_unit_voltage", "MinVoltageOfPowerBattery", pack_voltage),
    OF_2016(0x08, "ess_voltage", "ChargeableVoltage", ess_voltage),
    OF_2025(0x08, "battery_temperature", "TempOfPowerBattery", pack_temperature),
    OF_2016(0x09, "ess_temperature", "ChargeableTemp", ess_temperature),
    OF_2025(0x30, "fuel_cell_stack", "FuelCellStack", stacks),
    OF_2025(0x31, "supercapacitor", "SuperCapacitor", supercapacitor),
    OF_2025(0x32, "supercapacitor_extremes", "SuperCapacitorExtreme", supercapacitor_extremes),
    {.id = 0x80,
     .last_id = 0xfe,
     .name = "user_defined",
     .any_length = true,
     .guessed = true, /* makers leave the length out */
     .rows = user_defined},
    {.id = 0xff,
     .name = "signature",
     .alias = "Signature",
     .alias_rows = signature_emqx,
     .any_length = true,
     .since = GBT_2025,
     .then = "after_signature",
     .rows = gbt_rows_signature},
};

const struct wire_items gbt_items = {.id_width = 1,
                                     .id_key = "type",
                                     .alias_items = WIRE_ALIAS_RECORDS,
                                     .item = items,
                                     .n = sizeof(items) / sizeof(items[0])};

const struct wire_row gbt_rows_report[] = {
    TIME("time", EMQX("Time")), ROW("items", WIRE_ITEMS, EMQX("Infos"), .items = &gbt_items),
    END_OF_ROWS};
